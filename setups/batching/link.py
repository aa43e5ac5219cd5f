"""What a transport must offer; a setup's `transport.py` does, under these names."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from batching.backlog import Backlog
from batching.job import Answer, Job


class OwnerLostError(Exception):
    """The owner of the device died while it computed this batch, and may have died of it."""


class Companion(NamedTuple):
    """A program that must run beside the workers, and how to tell that it does."""

    command: list[str]
    ready: Callable[[], bool]


class FrontLink(Protocol):
    """A front's end: gives what `backlog` says to workers, hands their answers to `deliver`. `trouble` says why jobs
    reach no worker; "" while they can."""

    trouble: str

    def __init__(self, index: int, fronts: int, workers: int, backlog: Backlog,
                 deliver: Callable[[list[Answer]], None]) -> None: ...

    async def open(self) -> None:
        """Start taking and giving; returns when jobs can be submitted."""

    async def work(self) -> None:
        """Return never; raise what keeps it from going on."""

    def submit(self, job: Job) -> None:
        """Queue a job; jobs of one turn of the event loop travel together."""

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again what that worker held; a job in `started` has used up one attempt."""

    async def close(self) -> None:
        """Stop; jobs still queued are lost."""


class WorkerLink(Protocol):
    """A worker's end."""

    def __init__(self, name: str, fronts: int) -> None: ...

    def take(self, timeout_s: float) -> list[list[Job]]:
        """Wait for batches; an empty list after the timeout."""

    def give(self, answers: list[Answer]) -> None:
        """Send the answers to one batch to the front that waits for them."""

    def close(self) -> None:
        """Stop taking jobs."""
