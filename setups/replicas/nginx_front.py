"""nginx, where it is installed, in front of the replicas: how it is started, and how it ends when it has answered."""

import contextlib
import ctypes
import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from envoy_front import BODY_LIMIT
from replica.lifeline import PR_SET_PDEATHSIG, die_with_parent

CONFIG = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    {temporary}
    client_max_body_size {body_limit};
    client_body_buffer_size 256k;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    limit_conn_zone $server_port zone=all:64k;
    limit_conn all {queue};
    limit_conn_status 503;
    limit_conn_log_level info;
    upstream replicas {{
        zone replicas 256k;
        least_conn;
        {servers}
        keepalive 256;
        keepalive_requests 100000000;
        keepalive_timeout 240s;
    }}
    server {{
        listen {host}:{port} backlog=4096;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_pass_header Server;
            proxy_connect_timeout 1s;
            proxy_read_timeout {timeout_s}s;
            proxy_next_upstream error timeout;
            proxy_next_upstream_tries 3;
            proxy_next_upstream_timeout {timeout_s}s;
        }}
    }}
}}
"""


def start(folder: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    """nginx in front of replicas on those ports. Raises SystemExit where it is not installed."""
    program = shutil.which("nginx")
    if program is None:
        raise SystemExit("nginx is not found; install it, or use the knob balancer=envoy")
    file = folder / "nginx.conf"
    file.write_text(config(ports, folder, os.environ), "utf-8")
    return subprocess.Popen([program, "-p", str(folder), "-e", "stderr", "-c", str(file)], start_new_session=True,
                            preexec_fn=partial(end_with_parent, os.getpid()))  # noqa: PLW1509  no threads here


def end(nginx: subprocess.Popen[bytes], _folder: Path, within_s: float) -> None:
    """Lets nginx answer what it has taken, then ends it."""
    nginx.send_signal(signal.SIGQUIT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        nginx.wait(within_s)
    nginx.terminate()
    nginx.wait()


def config(replicas: list[int], folder: Path, told: Mapping[str, str]) -> str:
    """A server that shares requests over the replicas' ports: the one with the fewest of them in flight.

    A replica that cannot be reached is put aside for a second. A request goes to another when it was never sent (or, as
    nginx has it, does no harm twice: a GET), and is refused with 503 beyond KNOB_QUEUE in all. `told` is the server's
    environment; files are in `folder`.
    """
    # Workers of an nginx that root starts would be somebody else, who may not enter the folder.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return CONFIG.format(
        user=user, workers=told["KNOB_BALANCER_THREADS"], folder=folder, host=told["HOST"], port=told["PORT"],
        temporary=" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds), body_limit=BODY_LIMIT,
        servers=" ".join(f"server {told['HOST']}:{each} max_fails=1 fail_timeout=1s;" for each in replicas),
        queue=told["KNOB_QUEUE"], timeout_s=told["KNOB_TIMEOUT_S"])


def end_with_parent(parent: int) -> None:
    """SIGTERM when the parent goes, not SIGKILL: nginx would leave its workers."""
    die_with_parent(parent)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
