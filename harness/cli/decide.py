"""`tailrace decide`: which setup to run, the record that says so, and whether it still holds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harness.catalog.device import parted
from harness.catalog.discover import find_catalog
from harness.cli.bill import even_words, today, usd
from harness.cli.show import dump, grid, screen
from harness.decide.bill import peak_note
from harness.decide.bill_measured import Asked, opened
from harness.decide.bill_offers import offered
from harness.decide.bill_question import Question, asked
from harness.decide.choice import DECIDED
from harness.decide.choice_answer import Answer, Wishes, answered
from harness.decide.choice_grid import counted, front, held, p99_words
from harness.decide.choice_recheck import Decided, Today, read_decided, recheck
from harness.decide.fleet import Fleet
from harness.decide.prices import parse_prices
from harness.errors import Exit, TailraceError, UsageError
from harness.report import decision_story
from harness.report.decision_draft import drafted
from harness.report.decision_record import next_path
from harness.report.words import figure, milliseconds, percent
from harness.run.upkeep import locked_engines, unlocked_engines

USUAL = Path("docs/decisions")
CODES = {"one": Exit.OK, "tie": Exit.OK, "open": Exit.INCONCLUSIVE, "none": Exit.BROKEN_PROMISE}


def decide(question: Question, wishes: Wishes, out: Path | None, pages: Path | None, as_json: bool) -> int:
    """Shows the choice, writes its notebook below `pages` and its record below `out` where those are given. Returns the
    exit code; where one of them cannot be written, the choice is shown all the same, and its code goes before the
    error's."""
    answer = answered(question, wishes, today())
    kept: Path | None = None
    if not as_json:
        _show(answer)
    try:
        if pages:
            decision_story.report(question, wishes, today(), pages, out)
        kept = _written(answer, question, wishes, out) if out else None
    except TailraceError as error:
        error.code = CODES[answer.choice.kind] or error.code
        raise
    finally:
        if as_json:
            dump(summary(answer) | {"record": str(kept) if kept else None})
    if not as_json:
        if not kept and answer.choice.kind in DECIDED:
            usual = next_path(USUAL, question.workload, answer.choice.named[0])
            screen().print(f"  Add --out {USUAL} to write it down, as {usual}.", markup=False, highlight=False)
        for path in [*([pages / name for name in decision_story.FILES] if pages else []), *([kept] if kept else [])]:
            screen().print(f"  {path}", markup=False, highlight=False)
    return CODES[answer.choice.kind]


def again(path: Path, results: Path, demand: str, prices: Sequence[str], as_json: bool) -> int:
    """Evaluates a record's triggers; 99 when one has fired or can no longer be evaluated. `demand` and `prices` are
    today's where given."""
    decided = read_decided(path)
    told = decided.question
    question = Question(decided.workload, list(told["slo"]), demand or str(told["demand"]), [decided.setup],
                        str(told["fleet"]), results, prices or _own(told, "price", decided.setup),
                        _own(told, "instance", decided.setup), _own(told, "speed", decided.setup), [],
                        Path(told["price_list"]) if told["price_list"] else None,
                        _own(told, "machine", decided.setup))
    if prices and decided.setup not in parse_prices(prices):
        raise UsageError(f"--price {prices[0]}: the record chose {decided.setup}, whose price alone is looked at",
                         f"write --price '{decided.setup}=USD/h'")
    wanted, curve, _ = asked(question, today())
    price, source = _price(results, wanted, decided, bool(prices))
    engines, lost, unlocked = _engines(decided)
    found = recheck(decided, results, Today(today(), curve.mean, price, source, engines, lost, unlocked))
    if as_json:
        dump({"record": str(path), "triggers": [asdict(each) for each in found]})
    else:
        for each in found:
            screen().print(f"{'FIRED' if each.fired else 'quiet'}  {each.code:9} {each.words}", markup=False,
                           highlight=False)
    return Exit.BROKEN_PROMISE if any(each.fired for each in found) else Exit.OK


def summary(answer: Answer) -> dict[str, Any]:
    """The answer as plain values for JSON."""
    choice = answer.choice
    return {"schema": 1, "kind": choice.kind, "named": list(choice.named), "sentence": choice.sentence,
            "promise": answer.wanted.promise, "demand": answer.demand.name, "mean_per_s": answer.demand.mean,
            "bills": [asdict(replace(each, fleet=Fleet())) | {"fleet": each.fleet.model_dump()}
                      for each in choice.bills],
            "pairs": [asdict(each) for each in choice.pairs], "scores": dict(choice.scores),
            "front": [each.offer.setup for each in front(choice.bills)], "without": dict(choice.without),
            "more_minutes": choice.more_minutes, "cases": [asdict(each) for each in answer.cases],
            "break_evens": [asdict(each) for each in answer.evens]}


def _price(results: Path, wanted: Asked, decided: Decided, now: bool) -> tuple[float, str]:
    """The price of the setup, given `now` or found, and where it is from; NaN where it can no longer be told, and why.
    """
    if decided.setup in wanted.prices:
        return wanted.prices[decided.setup], "as given now" if now else "as given when it was decided, not looked up"
    try:
        found = offered(results, wanted, opened(results, wanted))
    except TailraceError as error:
        return math.nan, str(error)
    if not found.offers:
        return math.nan, "; ".join(f"{name}: {why}" for name, why in found.without.items())
    return found.offers[0].hourly_usd, found.offers[0].price_words


def _engines(decided: Decided) -> tuple[dict[str, str], str, list[str]]:
    """What the locks of the setup would install, why that can no longer be told, and what no lock names."""
    catalog = find_catalog()
    try:
        setup = catalog.setup(parted(decided.setup)[0]).with_knobs(decided.knobs)
        lock = catalog.workload(decided.workload).lock
        return locked_engines(setup, lock, decided.python), "", unlocked_engines(setup)
    except TailraceError as error:
        return {}, str(error), []


def _written(answer: Answer, question: Question, wishes: Wishes, out: Path) -> Path:
    if out.suffix == ".md":
        raise UsageError(f"--out {out}: is no folder", f"name one, {USUAL} for example: its records are numbered")
    path, text = drafted(answer, question, wishes, out, today())
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{path}: cannot be written: {error.strerror}", "give another folder with --out") from None
    return path


def _own(told: Mapping[str, Any], option: str, setup: str) -> list[str]:
    """What a record's option SETUP=VALUE says of this setup."""
    return [each for each in told.get(option, []) if each.partition("=")[0].strip() == setup]


def _show(answer: Answer) -> None:
    page, choice = screen(), answer.choice
    best = {each.offer.setup for each in front(choice.bills)}
    rows = [(each.offer.setup + (" *" if each.offer.setup in best else ""), each.offer.verdict, usd(each.offer.rate),
             usd(each.monthly_usd), usd(each.per_million_good_usd), figure(each.peak_per_million_usd),
             milliseconds(each.offer.p99_ms.value), percent(each.idle_share), figure(each.broken_minutes),
             f"{choice.scores[each.offer.setup]:.2f}") for each in choice.bills]
    title = f"{answer.wanted.workload}, {answer.wanted.promise}: {answer.demand.title}"
    if rows:
        page.print(grid(title, ("setup", "promise", "carries (/s)", "$/month", "$/million good", "$/million at peak",
                                "p99", "idle", "broken min/month", "weighed"), rows))
        page.print(f"  *: none is both cheaper and faster at p99. {p99_words(choice.bills)}", markup=False,
                   highlight=False, style="dim")
        page.print(f"  {peak_note(choice.bills)}", markup=False, highlight=False, style="dim")
    for name, why in choice.without.items():
        page.print(f"  {name}: no candidate: {why}", markup=False, highlight=False)
    for even in answer.evens:
        page.print(f"  {even_words(even)}", markup=False, highlight=False, style="dim")
    for source in dict.fromkeys(f"{each.offer.setup} carries {figure(each.offer.rate.value)}/s: {each.offer.source}; "
                                f"{each.offer.instance} at ${each.offer.hourly_usd:g}/h, {each.offer.price_words}"
                                for each in choice.bills):
        page.print(f"  · {source}", markup=False, highlight=False, style="dim")
    if answer.cases and choice.kind != "open":
        page.print(f"  Stays chosen in {percent(held(answer.cases, choice))} of {counted(answer.cases)}: price ±30 %, "
                   "promise and demand halved and doubled.", markup=False, highlight=False)
    page.print(choice.sentence, markup=False, highlight=False)
