"""The gateway's own metrics, in Prometheus' text format."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Figures:
    """What is counted; the engine's own metrics are the engine's."""

    def __init__(self) -> None:
        disable_created_metrics()  # times of creation beside counts would be read as counts
        self._registry = CollectorRegistry()
        self._requests = Counter("gateway_requests", "Predictions answered, by status", ["code"],
                                 registry=self._registry)
        self.retried = Counter("gateway_retries", "Requests sent again after their connection was lost",
                               registry=self._registry)
        self.hedged = Counter("gateway_hedges", "Requests of which a second copy was sent", registry=self._registry)
        self.in_flight = Gauge("gateway_in_flight", "Requests with the engine", registry=self._registry)
        self._seconds = Histogram("gateway_seconds", "From the whole request to the answer", buckets=BUCKETS_S,
                                  registry=self._registry)
        self._codes = {code: self._requests.labels(str(code)) for code in (200, 400, 413, 500, 502, 503, 504)}

    def answered(self, code: int, seconds: float) -> None:
        """A prediction ended with that status."""
        counter = self._codes.get(code)
        (counter or self._requests.labels(str(code))).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
