"""Runs a workload's prepared ONNX model on an accelerator: through ONNX Runtime's CUDA provider, or PyTorch."""
