"""A question answered: the choice, and what would change it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path

from harness.catalog.discover import find_catalog
from harness.decide.bill_even import BreakEven, break_evens
from harness.decide.bill_measured import Asked, opened
from harness.decide.bill_offers import Offered, offered
from harness.decide.bill_question import Question, asked
from harness.decide.capacity_elsewhere import refitted, share_within
from harness.decide.choice import Choice, Wish, choose
from harness.decide.choice_facts import LATENCY, PARTS, check_known, parse_musts, parse_weights
from harness.decide.choice_grid import Case, stability
from harness.decide.demand import Curve
from harness.decide.fleet import Fleet
from harness.errors import UsageError


@dataclass(frozen=True)
class Wishes:
    """What the team must have and weighs, as the command line says it."""

    must: str
    weights: str
    worth: float
    error: float


@dataclass(frozen=True)
class Answer:
    """A question with its answer, ready to be shown or recorded."""

    wanted: Asked
    demand: Curve
    fleet: Fleet
    wish: Wish
    found: Offered
    choice: Choice
    cases: tuple[Case, ...]
    evens: tuple[BreakEven, ...]


def answered(question: Question, wishes: Wishes, today: date) -> Answer:
    """The choice with what would change it. Raises TailraceError."""
    wanted, demand, fleet = asked(question, today)
    if not (0 < wishes.worth < 1 and 0 < wishes.error < 1):
        raise UsageError("--worth and --error are shares between 0 and 1", "write for example 0.05")
    wish = Wish(wanted.slo, parse_musts(wishes.must), parse_weights(wishes.weights), wishes.worth, wishes.error)
    known = _facts_known()
    check_known("--must", list(wish.musts), known)
    check_known("--weights", list(wish.weights), [*known, LATENCY, PARTS])
    runs = opened(question.results, wanted)
    found = offered(question.results, wanted, runs)
    choice = choose(found.offers, found.without, demand, fleet, wish)
    cases = stability(choice, lambda slo: offered(question.results, replace(wanted, slo=slo), runs), demand, fleet,
                      wish, _predictor(found, question.results))
    return Answer(wanted, demand, fleet, wish, found, choice, cases,
                  break_evens([each.offer for each in choice.bills], demand, fleet))


def _predictor(found: Offered, results: Path) -> Callable[[str, Mapping[str, str]], float | None]:
    """What says how many times its searched capacity a setup carries within another promise; each twin is fitted once,
    and only when it is asked."""
    fit = cache(lambda name: refitted(found.searches[name], results) if name in found.searches else None)

    def share(name: str, slo: Mapping[str, str]) -> float | None:
        twin = fit(name)
        return None if twin is None else share_within(twin, slo)
    return share


def _facts_known() -> list[str]:
    """Every fact that a setup of the catalog tells of itself, and `gpu`."""
    catalog = find_catalog()
    return list(dict.fromkeys(["gpu", *(fact for name in catalog.setup_names() for fact in catalog.setup(name).mlops)]))
