"""What-ifs: a phrase or a knob becomes another twin or another load. Pure.

Understood: `batch wait 5 to 1 ms`, `max batch 8 to 32`, `3 to 12 workers`, `workers 3 to 12`, `queue 1024 to 64`,
`1 to 40 machines`, `twice the demand at lunch`, `3 times the demand`, `half the demand`, `demand +50 %`,
`400 to 900 req/s`. The first figure may be left out (`batch wait to 1 ms`, `12 workers`).
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

from harness.decide.twin import Balancer, Structure, Twin
from harness.errors import UsageError

Subject = Literal["wait_ms", "max_batch", "workers", "queue", "machines", "rate", "demand"]

WORDS: dict[str, Subject] = {
    "batch wait": "wait_ms", "max wait": "wait_ms", "max_wait_ms": "wait_ms", "wait": "wait_ms",
    "max batch": "max_batch", "max_batch": "max_batch", "batch size": "max_batch", "batch": "max_batch",
    "workers": "workers", "worker": "workers", "queue": "queue", "machines": "machines", "machine": "machines",
    "replicas": "machines", "replica": "machines", "rate": "rate", "load": "rate", "req/s": "rate",
    "requests/s": "rate", "requests a second": "rate"}
TIMES = {"half": 0.5, "twice": 2.0, "double": 2.0, "thrice": 3.0, "triple": 3.0}
HINT = "write for example 'batch wait 5 to 1 ms', '3 to 12 workers', '1 to 40 machines' or 'twice the demand'"

_NUMBER = r"(\d+(?:\.\d+)?)"
_SUBJECT = "|".join(sorted((re.escape(word) for word in WORDS), key=len, reverse=True))
_FORMS = (
    re.compile(rf"^(?P<what>{_SUBJECT})\s+(?:(?P<was>[\d.]+)\s*(?:ms|s)?\s+)?to\s+(?P<to>[\d.]+)\s*(?P<unit>ms|s)?$"),
    re.compile(rf"^(?:(?P<was>[\d.]+)\s+to\s+)?(?P<to>[\d.]+)\s*(?P<unit>ms)?\s*(?P<what>{_SUBJECT})$"))
_DEMAND = re.compile(rf"^(?P<times>{'|'.join(TIMES)}|{_NUMBER}\s*(?:times|x|×))\s+the\s+(?:demand|load|traffic)"
                     r"(?:\s+at\s+(?P<when>[\w: ]+))?$")
_PERCENT = re.compile(rf"^(?:demand|load|traffic)\s*(?P<sign>[+−-])\s*{_NUMBER}\s*%(?:\s+at\s+(?P<when>[\w: ]+))?$")


@dataclass(frozen=True)
class Balancing:
    """How a fleet's balancer picks a replica, as the twin's structure and in words."""

    balancer: Balancer
    choices: int
    words: str


BALANCINGS = {"round_robin": Balancing("round_robin", 2, "to the next in turn"),
              "random": Balancing("random", 2, "to any, by chance"),
              "least_of_2": Balancing("least", 2, "to the less busy of two"),
              "least": Balancing("least", 0, "to the least busy of all")}
MOST_LOOKED_AT = 1_000


@dataclass(frozen=True)
class Change:
    """One change: `to` in the subject's unit, or the factor of the demand; `was` is what the phrase says it is now (NaN
    where it does not), `when` the moment it names."""

    subject: Subject
    to: float
    was: float = math.nan
    when: str = ""


def parse_change(text: str) -> Change:
    """The change a phrase asks for. Raises UsageError."""
    phrase = " ".join(text.lower().split())
    demand = _DEMAND.match(phrase)
    if demand:
        factor = TIMES.get(demand["times"]) or float(re.sub(r"[^\d.]", "", demand["times"]))
        return _checked(Change("demand", factor, when=demand["when"] or ""), text)
    percent = _PERCENT.match(phrase)
    if percent:
        share = float(percent.group(2)) / 100
        return _checked(Change("demand", 1 + share if percent["sign"] == "+" else 1 - share,
                               when=percent["when"] or ""), text)
    for form in _FORMS:
        found = form.match(phrase)
        if found:
            subject = WORDS[found["what"]]
            unit = 1000.0 if subject == "wait_ms" and found["unit"] == "s" else 1.0
            return _checked(Change(subject, _number(found["to"], text) * unit,
                                   _number(found["was"], text) * unit if found["was"] else math.nan), text)
    raise UsageError(f"what if '{text}': not understood", HINT)


def _number(text: str, phrase: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"what if '{phrase}': '{text}' is no number", HINT) from None


def _checked(change: Change, text: str) -> Change:
    """Raises UsageError for what cannot be: no worker, half a batch, no demand."""
    whole = change.subject in ("max_batch", "workers", "queue", "machines")
    if change.to < (1 if whole else 0) or (whole and change.to != int(change.to)) or (
            change.to == 0 and change.subject in ("rate", "demand")):
        raise UsageError(f"what if '{text}': {change.subject} cannot be {change.to:g}", HINT)
    return change


def parse_balancing(name: str) -> Balancing:
    """The balancing of that name. Raises UsageError."""
    if name not in BALANCINGS:
        raise UsageError(f"--balancer {name}: not known", f"one of {', '.join(BALANCINGS)}")
    return BALANCINGS[name]


def changed(twin: Twin, rate: float, change: Change, machine_workers: int,
            balancing: Balancing | None = None) -> tuple[Twin, float, str]:
    """The twin and the load after the change, and what is assumed ("" for nothing).

    More workers than the measured machine has room for are machines like it, each with as many workers as it runs,
    behind a balancer; one that picks the less busy of two unless another is given. Raises UsageError for one too slow
    to play, and for other workers of machines that are many already.
    """
    balancing = balancing or BALANCINGS["least_of_2"]
    if change.subject in ("demand", "rate"):
        return twin, rate * change.to if change.subject == "demand" else change.to, ""
    structure, to = twin.structure, int(change.to)
    if change.subject == "wait_ms":
        return _with(twin, replace(structure, wait_s=change.to / 1e3)), rate, ""
    if change.subject in ("max_batch", "queue"):
        bound = replace(structure, max_batch=to) if change.subject == "max_batch" else replace(structure, limit=to)
        return _with(twin, bound), rate, ""
    if change.subject == "workers" and structure.machines > 1:
        raise UsageError(f"{to} workers: of one machine or of all {structure.machines}?",
                         "name the workers before the machines")
    if change.subject == "workers" and to <= machine_workers:
        return _with(twin, _with_workers(structure, to)), rate, ""
    own = structure.workers * structure.per_machine
    machines = to if change.subject == "machines" else math.ceil(change.to / own)
    if structure.per_machine * machines > MOST_LOOKED_AT and balancing.choices == 0 and balancing.balancer == "least":
        raise UsageError(f"--balancer least looks at every replica for each request, and {machines} machines have "
                         f"more than {MOST_LOOKED_AT:,}", "use --balancer least_of_2, as balancers of such fleets do")
    said = (f"{machines} machines like the measured one, {own} workers each, each as far off as that one at its share "
            f"of the load, behind a balancer that costs nothing and sends each request {balancing.words}"
            + (" (it sees each worker)" if structure.per_machine > 1 else ""))
    return _with(twin, fleet(structure, machines, balancing)), rate, said


def fleet(structure: Structure, machines: int, balancing: Balancing) -> Structure:
    """That many machines like the one, behind such a balancer."""
    if machines == structure.machines:
        return structure
    return replace(structure, replicas=structure.per_machine * machines, balancer=balancing.balancer,
                   choices=balancing.choices)


def _with(twin: Twin, structure: Structure) -> Twin:
    return replace(twin, structure=structure)


def _with_workers(structure: Structure, workers: int) -> Structure:
    if structure.balancer == "shared":
        return replace(structure, workers=workers)
    return replace(structure, replicas=workers, per_machine=workers)
