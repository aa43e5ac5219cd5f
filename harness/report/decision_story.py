"""What the decision notebook calls: one function per question, each returning what a cell shows."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from harness.decide.bill import peak_note
from harness.decide.bill_question import Question
from harness.decide.choice_answer import Answer, Wishes, answered
from harness.errors import TailraceError
from harness.report import decision_charts as charts
from harness.report.canvas import Chart, Ink, inks
from harness.report.decision_draft import drafted
from harness.report.decision_record import span
from harness.report.html import page, rendered
from harness.report.notebook import SOURCES, execute
from harness.report.story import Shown
from harness.report.words import clean, escaped, figure, listed, milliseconds, percent
from harness.report.write import as_json, portable_text, write_files

ENVIRONMENT = "TAILRACE_DECISION"  # question, wishes, date and the record's folder as JSON, for the notebook's kernel
FILES = ("decision.ipynb", "decision.html")
FOLDER = Path("docs/decisions")  # where a record is said to lie when nobody says where it goes
NOBODY = "No setup is a candidate, so there is nothing to draw; why each was left out is said above."


@dataclass(frozen=True)
class Decision:
    """A question with its answer of `today`; a record of it goes to `folder`."""

    question: Question
    answer: Answer = field(repr=False)
    wishes: Wishes
    today: date
    folder: Path = FOLDER

    @property
    def ink(self) -> dict[str, Ink]:
        """How each setup is drawn, in every figure alike."""
        return inks(sorted(each.offer.setup for each in self.answer.choice.bills))


def report(question: Question, wishes: Wishes, today: date, out: Path, folder: Path | None = None) -> None:
    """Executes the decision notebook and writes FILES into `out`; `folder` is where the record goes. Raises
    TailraceError."""
    told = json.dumps({"question": {**asdict(question), "results": str(question.results.resolve()),
                                    "price_list": str(question.price_list) if question.price_list else None},
                       "wishes": asdict(wishes), "today": today.isoformat(), "folder": str(folder or FOLDER)})
    notebook = execute(SOURCES / "decision.py", {ENVIRONMENT: told})
    executed = json.loads(portable_text(as_json(notebook), question.results))
    write_files({FILES[0]: as_json(executed), FILES[1]: page(executed, f"Serving {clean(question.workload)}").encode()},
                out)


def open_decision() -> Decision:
    """The question that the environment holds (`tailrace decide --report` sets it), answered from the records. Raises
    TailraceError."""
    told = os.environ.get(ENVIRONMENT)
    if told is None:
        raise TailraceError(f"${ENVIRONMENT} is not set", "make the notebook with `tailrace decide … --report FOLDER`")
    table = json.loads(told)
    asked = table["question"]
    question = Question(**{**asked, "results": Path(asked["results"]),
                           "price_list": Path(asked["price_list"]) if asked["price_list"] else None})
    wishes, today = Wishes(**table["wishes"]), date.fromisoformat(table["today"])
    return Decision(question, answered(question, wishes, today), wishes, today, Path(table["folder"]))


def headline(told: Decision) -> Shown:
    """The question, and the answer in one sentence."""
    answer = told.answer
    ask = (f"Which setup should serve {answer.wanted.workload} within {answer.wanted.promise} for "
           f"{answer.demand.title} (mean {figure(answer.demand.mean)}/s, busiest minute "
           f"{figure(answer.demand.peak)}/s)?")
    html = (f"<h1>Serving {escaped(answer.wanted.workload)}</h1><p class='question'>{escaped(ask)}</p>"
            f"<p class='conclusion'><b>{escaped(answer.choice.sentence)}</b></p>")
    return Shown(({"text/html": html, "text/plain": answer.choice.sentence},))


def candidates(told: Decision) -> Shown:
    """The bills as a table, and why others are no candidates."""
    head = ("setup", "promise", "carries (/s)", "$/month", "$/million good", "$/million at peak", "p99", "idle",
            "broken min/month", "weighed")
    rows = [[clean(each.offer.setup), each.offer.verdict, figure(each.offer.rate.value), figure(each.monthly_usd.value),
             figure(each.per_million_good_usd.value), figure(each.peak_per_million_usd),
             milliseconds(each.offer.p99_ms.value), percent(each.idle_share), figure(each.broken_minutes),
             f"{told.answer.choice.scores[each.offer.setup]:.2f}"] for each in told.answer.choice.bills]
    out = [f"{name}: {why}" for name, why in told.answer.choice.without.items()]
    notes = [peak_note(told.answer.choice.bills)] if rows else []
    return Shown(({"text/html": _table(head, rows) + _list(notes + out), "text/plain": f"{len(rows)} candidates"},))


def front(told: Decision) -> Shown:
    """Cost against p99; a sentence where no setup is a candidate, here and in the next two."""
    if not told.answer.choice.bills:
        return _said(NOBODY)
    return _shown(iter([charts.pareto(told.answer.choice.bills, told.ink)]))


def replicas(told: Decision) -> Shown:
    """Replicas hour by hour."""
    if not told.answer.choice.bills:
        return _said(NOBODY)
    return _shown(iter([charts.hourly(told.answer.demand, told.answer.choice.bills, told.ink)]))


def break_even(told: Decision) -> Shown:
    """Cost over load, and from where on another setup is cheaper."""
    if not told.answer.choice.bills:
        return _said(NOBODY)
    return _shown(iter([charts.over_load(told.answer.demand, told.answer.choice.bills, told.answer.evens, told.ink)]))


def stability(told: Decision) -> Shown:
    """What would change the choice."""
    if not told.answer.cases:
        return _said("Nothing was chosen, so nothing can change.")
    return _shown(iter([charts.grid(told.answer.cases, told.answer.choice, told.ink)]))


def certainty(told: Decision) -> Shown:
    """Every comparison with its interval."""
    rows = [[clean(pair.other), clean(pair.best), span(pair.ratio), pair.verdict, str(pair.repetitions)]
            for pair in told.answer.choice.pairs]
    if not rows:
        return _said("There was nothing to compare.")
    return Shown(({"text/html": _table(("cost of", "÷ cost of", "ratio", "verdict", "repetitions"), rows),
                   "text/plain": f"{len(rows)} comparisons"},))


def assumptions(told: Decision) -> Shown:
    """Everything that was assumed, and the runs behind the figures."""
    if not told.answer.choice.bills:
        return _said("No setup is a candidate, so nothing was assumed of one.")
    said = list(dict.fromkeys(line for each in told.answer.choice.bills for line in each.assumptions))
    runs = [f"{each.offer.setup}: {listed(each.offer.run_ids)}" for each in told.answer.choice.bills]
    html = f"{_list(said)}<p>The runs it rests on:</p>{_list(runs)}"
    return Shown(({"text/html": html, "text/plain": f"{len(said)} assumptions"},))


def record(told: Decision) -> Shown:
    """The record that `--out` writes, as a reader of the project sees it; or why there is none."""
    try:
        path, text = drafted(told.answer, told.question, told.wishes, told.folder, told.today)
    except TailraceError as error:
        return _said(f"No record: {error}.")
    html = f"<p>{escaped(path)}</p>{rendered(text)}"
    return Shown(({"text/html": html, "text/plain": text},))


def _shown(drawn: Iterator[Chart]) -> Shown:
    bundles = []
    for chart in drawn:
        bundles.append({"image/svg+xml": chart.svg, "text/plain": chart.title})
        bundles.append({"text/html": f"<p class='conclusion'>{escaped(chart.caption)}</p>",
                        "text/plain": chart.caption})
    return Shown(tuple(bundles))


def _said(text: str) -> Shown:
    return Shown(({"text/html": f"<p class='conclusion'>{escaped(text)}</p>", "text/plain": text},))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th scope='col'>{escaped(name)}</th>" for name in head)
    body = "".join("<tr>" + f"<th scope='row'>{escaped(row[0])}</th>"
                   + "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:]) + "</tr>" for row in rows)
    return (f"<div class='scroll'><table class='figures'><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
            "</div>")


def _list(lines: Sequence[str]) -> str:
    return f"<ul class='notes'>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>" if lines else ""
