"""Envoy's configuration, and the two things asked of a running Envoy."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any

BODY_LIMIT = 8 * 1024 * 1024  # as in the replicas
STATISTIC = "http.front.downstream_rq_active"


def config(host: str, port: int, replicas: list[int], admin: Path, in_flight: int, timeout_s: float) -> dict[str, Any]:
    """A listener that shares requests over the replicas' ports: the one of two drawn with fewer requests in flight.

    Replicas are asked for their health each second and put aside for a while after five failures in a row. A request
    goes to another replica when it was never sent, and is refused with 503 beyond `in_flight` in all.
    """
    kind = "type.googleapis.com/envoy.extensions"
    elsewhere = {"name": "envoy.retry_host_predicates.previous_hosts",
                 "typed_config": {"@type": f"{kind}.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}
    route = {"match": {"prefix": "/"}, "route": {
        "cluster": "replicas", "timeout": f"{timeout_s}s", "retry_policy": {
            "retry_on": "connect-failure,reset-before-request", "num_retries": 2,
            "retry_host_predicate": [elsewhere], "host_selection_retry_max_attempts": 10}}}
    manager = {
        "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front", "generate_request_id": False, "server_header_transformation": "PASS_THROUGH",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            # A replica that refuses a large body while it still comes would look to Envoy like one that broke down.
            {"name": "envoy.filters.http.buffer", "typed_config": {
                "@type": f"{kind}.filters.http.buffer.v3.Buffer", "max_request_bytes": BODY_LIMIT}},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": f"{kind}.filters.http.router.v3.Router", "suppress_envoy_headers": True}}]}
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
    return {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
            "static_resources": {"clusters": [cluster], "listeners": [
                {"address": _address(host, port), "filter_chains": [{"filters": [
                    {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}]}}


def drain(admin: Path) -> None:
    """From here on Envoy closes connections after their answer, and its listener when its drain time is over."""
    _ask(admin, "POST", "/drain_listeners?graceful&skip_exit")


def requests_in_flight(admin: Path) -> int:
    """Requests that clients still wait for."""
    stats = json.loads(_ask(admin, "GET", f"/stats?format=json&filter=^{STATISTIC}$"))["stats"]
    return sum(int(each["value"]) for each in stats if each.get("name") == STATISTIC)


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
