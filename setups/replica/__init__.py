"""What every setup's process that holds a model does alike: load it, prove it, die with its parent."""
