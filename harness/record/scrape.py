"""A look at a server's own counters."""

from typing import NamedTuple


class Scrape(NamedTuple):
    """Prometheus text of /metrics, and the JSON of its model's statistics; "" for what it has not."""

    metrics: str = ""
    statistics: str = ""


NOTHING = Scrape()
