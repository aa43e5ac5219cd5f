"""Envoy from its wheel in front of the replicas: how it is started, and how it ends when it has answered."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from replica.lifeline import die_with_parent

BODY_LIMIT = 8 * 1024 * 1024  # as in the replicas
DRAIN_S = 1
KIND = "type.googleapis.com/envoy.extensions"
METRICS = "/stats/prometheus?usedonly"
STATISTIC = "http.front.downstream_rq_active"


def start(folder: Path, ports: list[int]) -> subprocess.Popen[bytes]:
    """Envoy in front of replicas on those ports."""
    setting = config(ports, _admin(folder), os.environ)
    program = Path(sys.executable).with_name("envoy")
    return subprocess.Popen([program, "--config-yaml", json.dumps(setting), "--log-level", "error",
                             "--concurrency", os.environ["KNOB_BALANCER_THREADS"], "--disable-hot-restart",
                             "--drain-time-s", str(DRAIN_S), "--drain-strategy", "immediate"],
                            start_new_session=True, preexec_fn=partial(die_with_parent, os.getpid()))  # noqa: PLW1509


def end(envoy: subprocess.Popen[bytes], folder: Path, within_s: float) -> None:
    """Lets Envoy answer what it has taken, then ends it."""
    deadline = time.monotonic() + within_s
    with contextlib.suppress(OSError, http.client.HTTPException):  # it may have ended already
        _ask(_admin(folder), "POST", "/drain_listeners?graceful&skip_exit")
        time.sleep(DRAIN_S)
        while _in_flight(_admin(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
    envoy.terminate()
    envoy.wait()


def config(replicas: list[int], admin: Path, told: Mapping[str, str]) -> dict[str, Any]:
    """A listener that shares requests over the replicas' ports: the one of two drawn with fewer requests in flight;
    and one with Envoy's own metrics. `told` is the server's environment.

    Replicas are asked for their health each second and put aside for a while after five failures in a row. A request
    goes to another replica when it was never sent, and is refused with 503 beyond KNOB_QUEUE in all.
    """
    host, in_flight = told["HOST"], int(told["KNOB_QUEUE"])
    elsewhere = {"name": "envoy.retry_host_predicates.previous_hosts",
                 "typed_config": {"@type": f"{KIND}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}
    route = {"match": {"prefix": "/"}, "route": {
        "cluster": "replicas", "timeout": f"{told['KNOB_TIMEOUT_S']}s", "retry_policy": {
            "retry_on": "connect-failure,reset-before-request", "num_retries": 2,
            "retry_host_predicate": [elsewhere], "host_selection_retry_max_attempts": 10}}}
    breaker = {"max_requests": in_flight, "max_pending_requests": in_flight, "max_connections": in_flight}
    cluster = {
        "name": "replicas", "type": "STATIC", "lb_policy": "LEAST_REQUEST", "connect_timeout": "1s",
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [breaker]},
        "health_checks": [{"timeout": "5s", "interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                           "no_traffic_interval": "1s", "http_health_check": {"path": "/healthz"}}],
        "outlier_detection": {"consecutive_5xx": 0, "consecutive_gateway_failure": 5,
                              "enforcing_consecutive_gateway_failure": 100, "base_ejection_time": "1s"},
        "load_assignment": {"cluster_name": "replicas", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": _address(host, each)}} for each in replicas]}]}}
    # A replica that refuses a large body while it still comes would look to Envoy like one that broke down.
    buffer = {"name": "envoy.filters.http.buffer", "typed_config": {
        "@type": f"{KIND}.filters.http.buffer.v3.Buffer", "max_request_bytes": BODY_LIMIT}}
    metrics = {"match": {"path": "/metrics"}, "route": {"cluster": "admin", "prefix_rewrite": METRICS}}
    own = {"name": "admin", "type": "STATIC", "load_assignment": {"cluster_name": "admin", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(admin)}}}}]}]}}
    return {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
            "static_resources": {"clusters": [cluster, own], "listeners": [
                _listener(host, int(told["PORT"]), "front", route, [buffer]),
                _listener(host, int(told["METRICS_PORT"]), "metrics", metrics, [])]}}


def _listener(host: str, port: int, name: str, route: dict[str, Any], filters: list[dict[str, Any]]) -> dict[str, Any]:
    router = {"name": "envoy.filters.http.router", "typed_config": {
        "@type": f"{KIND}.filters.http.router.v3.Router", "suppress_envoy_headers": True}}
    manager = {
        "@type": f"{KIND}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "generate_request_id": False, "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [*filters, router]}
    return {"name": name, "address": _address(host, port), "filter_chains": [{"filters": [
        {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def _in_flight(admin: Path) -> int:
    """Requests that clients still wait for."""
    stats = json.loads(_ask(admin, "GET", f"/stats?format=json&filter=^{STATISTIC}$"))["stats"]
    return sum(int(each["value"]) for each in stats if each.get("name") == STATISTIC)


def _admin(folder: Path) -> Path:
    """Envoy's administration socket."""
    return folder / "a"


def _ask(admin: Path, method: str, path: str) -> bytes:
    connection = http.client.HTTPConnection("localhost", timeout=2)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(2)
        connection.sock.connect(str(admin))
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}
