"""What a server's own counters say now: its /metrics, and the statistics of its model where it has a route for them."""

import platform
from contextlib import suppress

from harness.record.scrape import Scrape
from harness.run.exchange import FAILURES, exchange

TIMEOUT_S = 5.0


def scrape(ports: tuple[int, ...], statistics: str) -> Scrape:
    """Its /metrics at the first of the ports that has one, and what it says at `statistics` on the first port; "" for
    what is not there. Without this machine's name, which TorchServe puts into every line."""
    metrics = next((text for port in ports if (text := _text(port, "/metrics"))), "")
    return Scrape(metrics.replace(f'"{platform.node()}"', '"localhost"'),
                  _text(ports[0], statistics) if statistics else "")


def _text(port: int, path: str) -> str:
    with suppress(*FAILURES):
        reply = exchange(port, path, timeout_s=TIMEOUT_S)
        return reply.body.decode(errors="replace") if reply.status == 200 else ""
    return ""
