"""An application server and ML workers that pull batches from it: everything but the transport between them."""
