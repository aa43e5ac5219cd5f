"""What a transport must offer; a setup's `transport.py` does, under these names."""

from collections.abc import Callable, Container
from typing import NamedTuple, Protocol

from batching.job import Answer, Job


class Want(NamedTuple):
    """What an idle worker asks for: a batch of `best` would take it `seconds`; it will look at up to `most` jobs."""

    best: int
    most: int
    seconds: float


class Companion(NamedTuple):
    """A program that must run beside the workers, and how to tell that it does."""

    command: list[str]
    ready: Callable[[], bool]


class FrontLink(Protocol):
    """A front's end. `pending` holds the ids somebody still waits for; `deliver` takes the answers.
    `retried` counts jobs queued again after a worker died."""

    retried: int

    @property
    def waiting(self) -> int:
        """Jobs that no worker is known to have taken."""

    def __init__(self, index: int, workers: int, pending: Container[int],
                 deliver: Callable[[list[Answer]], None]) -> None: ...

    async def open(self) -> None:
        """Start taking and giving; returns when jobs can be submitted."""

    def submit(self, job: Job) -> None:
        """Queue a job for whichever worker asks next; jobs of one turn of the event loop travel together."""

    def worker_gone(self, name: str, started: frozenset[int]) -> None:
        """Queue again what that worker held; a job in `started` has used up one attempt."""

    async def close(self) -> None:
        """Stop; jobs still queued are lost."""


class WorkerLink(Protocol):
    """A worker's end."""

    def __init__(self, name: str, fronts: int, workers: int) -> None: ...

    def take(self, want: Want, timeout_s: float) -> list[Job]:
        """Wait for jobs; an empty list after the timeout."""

    def give(self, answers: list[Answer]) -> None:
        """Send answers to the fronts that wait for them."""

    def close(self) -> None:
        """Stop taking jobs."""
