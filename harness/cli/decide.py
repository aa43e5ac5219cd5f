"""`tailrace decide`: which setup to run, the record that says so, and whether it still holds."""

from collections.abc import Sequence
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
from harness.decide.choice_answer import Answer, Wishes, answered
from harness.decide.choice_grid import counted, front, held, p99_words
from harness.decide.choice_recheck import read_decided, recheck
from harness.decide.fleet import Fleet
from harness.errors import Exit, TailraceError
from harness.report import decision_story
from harness.report.decision_draft import drafted
from harness.report.words import figure, milliseconds, percent

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
        for path in [*([pages / name for name in decision_story.FILES] if pages else []), *([kept] if kept else [])]:
            screen().print(f"  {path}", markup=False, highlight=False)
    return CODES[answer.choice.kind]


def again(path: Path, results: Path, demand: str, prices: Sequence[str], as_json: bool) -> int:
    """Evaluates a record's triggers; 99 when one has fired. `demand` and `prices` are today's where given."""
    decided = read_decided(path)
    told = decided.question
    question = Question(decided.workload, list(told["slo"]), demand or str(told["demand"]), [decided.setup],
                        str(told["fleet"]), results, prices or list(told["price"]), list(told["instance"]),
                        list(told["speed"]), [],
                        Path(told["price_list"]) if told["price_list"] else None)
    wanted, curve, _ = asked(question, today())
    price = wanted.prices.get(decided.setup) or _price(results, wanted, decided.hourly_usd)
    lock = find_catalog().root / "setups" / parted(decided.setup)[0] / "requirements.txt"
    found = recheck(decided, results, lock, today(), curve.mean, price)
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


def _price(results: Path, wanted: Asked, old: float) -> float:
    """Today's price of the setup; the old one where nothing tells another."""
    try:
        found = offered(results, wanted, opened(results, wanted)).offers
    except TailraceError:
        return old
    return found[0].hourly_usd if found else old


def _written(answer: Answer, question: Question, wishes: Wishes, out: Path) -> Path:
    path, text = drafted(answer, question, wishes, out, today())
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{path}: cannot be written: {error.strerror}", "give another folder with --out") from None
    return path


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
