"""Points of the contract about answers: right alone and in batches, each request its own, alike in every setup."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harness.errors import RunFailedError
from harness.run.exchange import Reply
from harness.run.ready import answer_golden, await_ready, last_line
from harness.run.subject import ANSWER_S, DISTINCT, Subject, all_right, answered

BATCHES = (2, 7, 32)
CONCURRENCY = 32
FIRST = 16
Question = Callable[[Subject], str]
Others = dict[str, list[bytes]]


def ready(subject: Subject, log: Path, seconds: Callable[[], float]) -> str:
    """Waits for `ready`, then asks FIRST predictions at once: each must be answered. `seconds` since the start."""
    await_ready(subject.server, subject.setup, subject.port, log)
    after_s = seconds()
    body, _ = subject.golden[0]
    refused = [reply.status for reply in subject.at_once([body] * FIRST) if reply.status != 200]
    if refused:
        raise RunFailedError(f"said ready, and answered {len(refused)} of the first {FIRST} predictions with "
                             f"{refused[0]}{last_line(log)}")
    return f"ready after {after_s:.1f} s, and so it was"


def golden(subject: Subject) -> str:
    """Each golden request alone."""
    answer_golden(subject.setup, subject.port, subject.agent, ANSWER_S)
    return f"{len(subject.golden)} golden requests answered rightly, one at a time"


def golden_batch(size: int) -> Question:
    """`size` golden requests written before any reply is read, so that a server that batches can. How large the
    batches were is told where the server tells it."""
    def question(subject: Subject) -> str:
        told = []
        for start in range(0, max(size, len(subject.golden)), size):
            numbers = _numbers(subject, start, size)
            replies = subject.at_once([subject.golden[number][0] for number in numbers])
            all_right(subject.agent.same(list(zip(numbers, answered(replies), strict=True))), "golden answers")
            told += _batches(replies)
        most = f"in batches of up to {max(told)}" if told else "no batch sizes told"
        return f"golden requests, {size} at once, answered rightly, {most}"

    return question


def golden_together(subject: Subject) -> str:
    """Each golden request several times, from CONCURRENCY clients at a time."""
    numbers = _numbers(subject, 0, max(CONCURRENCY * 2, len(subject.golden)))
    answers = _together(subject, [subject.golden[number][0] for number in numbers])
    all_right(subject.agent.same(list(zip(numbers, answers, strict=True))), "golden answers")
    return f"{len(answers)} golden requests, {CONCURRENCY} at a time, answered rightly"


def order(subject: Subject) -> str:
    """Distinct items at the same time: each must get its own answer. Then each alone, for other setups to be compared
    with: in a batch, padding and rounding may turn a borderline answer."""
    bodies = subject.distinct()
    answers = _together(subject, bodies)
    all_right(subject.agent.judge(subject.distinct_prefix, list(enumerate(answers))), "answers to distinct items")
    subject.answers[:] = answered([subject.predict(body) for body in bodies])
    return f"{DISTINCT} distinct items, {CONCURRENCY} at a time, each got its own answer"


def alike(subject: Subject, others: Others) -> str:
    """The answers to the distinct items, each asked alone, against those that other setups gave to the same;
    RunFailedError names one that differs by more than the workload's tolerance."""
    for name, theirs in others.items():
        why = subject.agent.alike(list(zip(subject.answers, theirs, strict=False)))
        wrong = [each for each in why if each]
        if wrong:
            raise RunFailedError(f"{len(wrong)} of {len(why)} answers differ from those of {name}: {wrong[0]}")
    count = min(len(theirs) for theirs in others.values())
    return f"the same answers as {', '.join(sorted(others))} to {count} distinct items"


QUESTIONS: dict[str, Question] = {
    "golden": golden, **{f"golden-{size}": golden_batch(size) for size in BATCHES}, "golden-together": golden_together,
    "order": order}


def _numbers(subject: Subject, start: int, count: int) -> list[int]:
    return [(start + k) % len(subject.golden) for k in range(count)]


def _batches(replies: Sequence[Reply]) -> list[int]:
    told = [reply.headers.get("x-batch-size", "") for reply in replies]
    return [int(size) for size in told if size.isdecimal()]


def _together(subject: Subject, bodies: Sequence[bytes]) -> list[bytes]:
    """The answers' bodies in the order of the requests. Raises RunFailedError for one that is not 200."""
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return answered(list(pool.map(subject.predict, bodies)))
