"""gunicorn's settings, read by `--config python:settings`."""

import os

from replica.room import replicas

bind = f"{os.environ['HOST']}:{os.environ['PORT']}"
# gthread is what gunicorn's documentation recommends behind keep-alive clients; sync workers drop requests on a stop.
worker_class = "gthread"
workers = replicas()
threads = int(os.environ["KNOB_REQUEST_THREADS"])
keepalive = 75
timeout = 30 if os.environ["DEVICE"] == "cpu" else 180     # loading counts, and a device captures graphs first
graceful_timeout = 8
# The heartbeat file must not lie on a disk that can block (gunicorn's FAQ).
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else os.environ.get("TMPDIR")  # noqa: S108
accesslog = None
control_socket_disable = True
