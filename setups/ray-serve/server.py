"""Starts a Ray of its own on loopback, or joins the one it is told of; deploys; takes it all down at SIGTERM."""

import os
import pwd
import signal
import tempfile
import threading
from pathlib import Path

from doorman.doorman import stay_behind_doorman
from forward import forward
from metrics import serve_metrics
from replica.loopback import free_ports

APP = "tailrace"
STOP_S = 8
SHARES = 10_000     # Ray counts shares of a GPU in ten-thousandths, and rounds
OBJECT_STORE_BYTES = 80 << 20
LONGEST_TMP = 24  # Ray and HAProxy put sockets some 75 characters below it; the path of one must stay below 98
HANDED_ON = ("WORKLOAD", "MODEL_DIR", "THREADS", "DEVICE", "KNOB_PRECISION", "KNOB_MAX_BATCH", "PYTHONPATH",
             "OMP_NUM_THREADS", "ORT_DISABLE_TELEMETRY")


def main() -> None:
    """Returns after SIGTERM, when nothing of it runs any more."""
    stay_behind_doorman()
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= LONGEST_TMP else "/tmp"  # noqa: S108  the folder made in it is private
    with tempfile.TemporaryDirectory(prefix="ray-", dir=parent, ignore_cleanup_errors=True) as folder:
        os.environ |= ray_settings(folder)
        serve_until_told(folder)


def serve_until_told(folder: str) -> None:
    """Ray is imported here: it reads its settings from the environment then."""
    import ray  # noqa: PLC0415
    from ray import serve  # noqa: PLC0415
    from served import Served  # noqa: PLC0415

    workers, address = int(os.environ["KNOB_WORKERS"]), os.environ["KNOB_RAY_ADDRESS"]
    host, port = os.environ["HOST"], int(os.environ["PORT"])
    on_gpu = os.environ["DEVICE"] == "gpu"
    if address:
        handed_on = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        ray.init(address, runtime_env={"env_vars": handed_on}, log_to_driver=False)
        head = ray.get_runtime_context().gcs_address.rpartition(":")[0]
        forward(host, port, head, int(os.environ["KNOB_RAY_HTTP_PORT"]))
    else:
        [rays_port] = free_ports(1)
        ray.init("local", num_cpus=workers, num_gpus=int(on_gpu), object_store_memory=OBJECT_STORE_BYTES,
                 include_dashboard=False, _temp_dir=folder, _node_ip_address=host, _metrics_export_port=rays_port,
                 log_to_driver=False, logging_level="WARNING")
        serve.start(http_options=serve.HTTPOptions(host=host, port=port))
        serve_metrics(host, int(os.environ["METRICS_PORT"]), rays_port)
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())  # Ray's own handler, set by init, would drop what is in flight
    replicas = Served.options(
        num_replicas=workers, max_ongoing_requests=int(os.environ["KNOB_ONGOING"]),
        max_queued_requests=int(os.environ["KNOB_QUEUE"]),
        ray_actor_options={"num_cpus": 1, "num_gpus": int(SHARES / workers) / SHARES if on_gpu else 0},
        graceful_shutdown_wait_loop_s=0.2, graceful_shutdown_timeout_s=STOP_S)
    serve.run(replicas.bind(int(os.environ["KNOB_MAX_BATCH"]), float(os.environ["KNOB_MAX_WAIT_MS"]) / 1e3,
                            "" if address else host), name=APP)
    told.wait()
    serve.delete(APP)
    if not address:
        serve.shutdown()
    ray.shutdown()


def ray_settings(folder: str) -> dict[str, str]:
    """Ray's environment: silent, on loopback as on a Mac, and in its fast mode when the knob says so, with files and
    ports of its own where Ray has fixed ones."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                "RAY_SERVE_LOG_TO_STDERR": "0"}
    token = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ray/auth_token"  # HOME is the run's own
    if os.environ["KNOB_RAY_ADDRESS"] and token.exists():
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    if os.environ["KNOB_THROUGHPUT_OPTIMIZED"] != "true":
        return settings
    haproxy = "RAY_SERVE_HAPROXY_"
    first = 20_000 + 100 * (os.getpid() % 120)  # of the replicas' ports; below those that the kernel gives to anybody
    ports = [str(port) for port in free_ports(4)]
    return settings | {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1",
        f"{haproxy}CONFIG_FILE_LOC": f"{folder}/haproxy.cfg", f"{haproxy}SOCKET_PATH": f"{folder}/s",
        f"{haproxy}SERVER_STATE_BASE": folder, f"{haproxy}SERVER_STATE_FILE": f"{folder}/server-state",
        f"{haproxy}METRICS_SOCKET_PATH": f"{folder}/m", f"{haproxy}HARD_STOP_AFTER_S": str(STOP_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
        f"{haproxy}METRICS_PORT": ports[0], f"{haproxy}STATS_PORT": ports[1],
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first), "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 99),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": ports[2], "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": ports[3]}


if __name__ == "__main__":
    main()
