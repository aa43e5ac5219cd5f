"""What one generator process is told, and what it tells back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadSpec:
    """One run's load as generator process `worker` of `workers` sees it; written as JSON.

    The stages are resolved (absolute rates). `payloads` is the prefix of `<prefix>.bin` (bodies end to end) and
    `<prefix>.offsets.npy` (int64[pool+1]); request seq sends body seq mod pool. `answers_every`: keep the answer's
    body of every request whose seq is a multiple of it (0: none). `out` is the prefix of the files it writes.
    """

    host: str
    port: int
    path: str
    content_type: str
    headers: dict[str, str]
    stages: list[dict[str, object]]
    warmup_s: float
    seed: int
    payloads: str
    timeout_s: float
    answers_every: int
    worker: int
    workers: int
    cpu: int | None
    realtime: bool
    out: str
    web_port: int | None = None
