"""A request on its way to a worker, its answer on the way back, and their bytes on the wire."""

import struct
from collections.abc import Iterable
from typing import NamedTuple

FRONT_SHIFT = 46
MAX_ATTEMPTS = 2

_JOB = struct.Struct("<QqqBII")
_ANSWER = struct.Struct("<QHIIIHIIII")


class Job(NamedTuple):
    """One admitted request. Times are CLOCK_MONOTONIC ns, one clock for all processes of a machine;
    `wait_us` is how long it was held back for company.

    The id names its front in the bits from FRONT_SHIFT on and stays below 2**53, so that a float64 holds it exactly.
    """

    id: int
    admitted_ns: int
    deadline_ns: int
    attempt: int
    wait_us: int
    body: bytes

    @property
    def front(self) -> int:
        """Index of the front that waits for the answer."""
        return self.id >> FRONT_SHIFT


class Answer(NamedTuple):
    """HTTP status and body for one job; microseconds spent in the queue, waiting for company, in the model, and of
    these copying to a device and back, in its kernels (0 where there is none), and in the garbage collector."""

    id: int
    status: int
    queue_us: int
    wait_us: int
    model_us: int
    batch: int
    body: bytes
    copy_us: int = 0
    kernel_us: int = 0
    gc_us: int = 0

    @property
    def front(self) -> int:
        """Index of the front that waits for it."""
        return self.id >> FRONT_SHIFT


def pack_jobs(jobs: Iterable[Job]) -> bytes:
    """Jobs as bytes, one after another."""
    parts: list[bytes] = []
    for job in jobs:
        parts.append(_JOB.pack(job.id, job.admitted_ns, job.deadline_ns, job.attempt, job.wait_us, len(job.body)))
        parts.append(job.body)
    return b"".join(parts)


def unpack_jobs(data: bytes) -> list[Job]:
    """What pack_jobs packed. Raises struct.error for bytes that are cut short."""
    jobs: list[Job] = []
    at = 0
    while at < len(data):
        *head, length = _JOB.unpack_from(data, at)
        at += _JOB.size
        jobs.append(Job._make((*head, data[at:at + length])))
        at += length
    return jobs


def pack_answers(answers: Iterable[Answer]) -> bytes:
    """Answers as bytes, one after another."""
    parts: list[bytes] = []
    for answer in answers:
        parts.append(_ANSWER.pack(*answer[:6], *answer[7:], len(answer.body)))
        parts.append(answer.body)
    return b"".join(parts)


def unpack_answers(data: bytes) -> list[Answer]:
    """What pack_answers packed. Raises struct.error for bytes that are cut short."""
    answers: list[Answer] = []
    at = 0
    while at < len(data):
        *head, copy_us, kernel_us, gc_us, length = _ANSWER.unpack_from(data, at)
        at += _ANSWER.size
        answers.append(Answer._make((*head, data[at:at + length], copy_us, kernel_us, gc_us)))
        at += length
    return answers
