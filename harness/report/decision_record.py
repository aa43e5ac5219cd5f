"""A choice as an architectural decision record in the form of MADR 4.0, every figure with the runs it rests on."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from shlex import quote
from urllib.parse import quote as linkable

from harness.analyse.model import Cell, Interval
from harness.decide.bill import Bill
from harness.decide.choice import Choice, Wish
from harness.decide.choice_facts import has
from harness.decide.choice_grid import Case, counted, front, held
from harness.decide.choice_recheck import Decided, front_matter
from harness.decide.demand import Curve
from harness.errors import TailraceError
from harness.record.layout import run_folders
from harness.report.select import bounded
from harness.report.words import clean, figure, listed, markdown_escaped, milliseconds, percent

_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Deciding:
    """All that a record tells: the choice, the question, the cases looked at, the cells that were measured, and for
    every setup the ids of its runs."""

    choice: Choice
    wish: Wish
    workload: str
    title: str
    demand: Curve
    cases: Sequence[Case]
    cells: Mapping[str, Cell]
    runs: Mapping[str, Sequence[str]]
    decided: Decided


def record(told: Deciding, path: Path, results: Path, today: date) -> str:
    """The record's text for a file at `path`. Raises TailraceError where a figure has no run behind it."""
    labels = {name: f"E{number}" for number, name in enumerate(sorted(told.runs), start=1) if told.runs[name]}
    said = _Sayer(labels)
    favourite = told.choice.named[0]
    parts = [
        "---", 'status: "proposed"', f"date: {today.isoformat()}", front_matter(told.decided), "---", "",
        f"# Serve {markdown_escaped(told.workload)} with {markdown_escaped(favourite)}", "",
        *_context(told, said), *_options(told, said), *_outcome(told, said),
        "### Confirmation", "",
        "This decision is checked again, its evidence with it, by the command below. It exits with zero while every "
        "trigger under Expiry is quiet, and otherwise says which one has fired.", "",
        "```bash", f"tailrace decide --recheck {quote(str(path))} --results {quote(str(results))}", "```", "",
        *_pros_and_cons(told, said), *_more(told, said, labels, results, path),
    ]
    return "\n".join(parts).rstrip() + "\n"


def next_path(folder: Path, workload: str, setup: str) -> Path:
    """The next free numbered file in a folder of decisions."""
    taken = [int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]-*.md")]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"serve-{workload}-with-{setup}").strip("-")
    return folder / f"{max(taken, default=0) + 1:04d}-{plain}.md"


@dataclass(frozen=True)
class _Sayer:
    """Says a sentence with the labels of the evidence it rests on, where it has a figure."""

    labels: Mapping[str, str]

    def __call__(self, text: str, setups: Sequence[str]) -> str:
        plain = markdown_escaped(text)
        if not _DIGIT.search(plain):
            return plain
        refs = [f"\\[{self.labels[name]}\\]" for name in setups if name in self.labels]
        if not refs:
            raise TailraceError(f"no run stands behind '{text[:60]}…'",
                                "a record needs measured setups: leave --carries out and measure")
        return f"{plain} {' '.join(refs)}"


def _context(told: Deciding, said: _Sayer) -> list[str]:
    names = [each.offer.setup for each in told.choice.bills]
    promise = " and ".join(f"{metric} {bound}" for metric, bound in told.wish.slo.items())
    drivers = ["Cost per million good requests at this demand, with spare replicas and idle hours counted.",
               "The promise, kept in every minute as far as replicas can."]
    drivers += [f"Must: {name} is {'yes' if wanted else 'no'}." for name, wanted in told.wish.musts.items()]
    drivers += [f"Weighed among equals: {listed(list(told.wish.weights))}."] if told.wish.weights else []
    inputs = {key: value for key, value in told.decided.question.items() if value}
    return ["## Context and Problem Statement", "",
            said(f"Which setup should serve {told.workload} ({told.title}) so that {promise} is kept at the demand "
                 f"{told.demand.name}, with how many replicas, and for how much?", names), "",
            "What was given, not measured:", "",
            "```toml", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in inputs.items()),
            f"demand_mean_per_s = {told.demand.mean:.6g}", f"demand_peak_per_s = {told.demand.peak:.6g}",
            *(clean(f"usd_per_hour.{json.dumps(each.offer.setup)} = {each.offer.hourly_usd:g} "
                    f"# {each.offer.instance}, {each.offer.price_words}") for each in told.choice.bills), "```", "",
            "## Decision Drivers", "", *(f"* {markdown_escaped(line)}" for line in drivers), ""]


def _options(told: Deciding, said: _Sayer) -> list[str]:
    lines = [f"* {markdown_escaped(each.offer.setup)}" for each in told.choice.bills]
    lines += [f"* {said(f'{name}: not a candidate: {why}', [name])}" for name, why in told.choice.without.items()]
    return ["## Considered Options", "", *lines, ""]


def _outcome(told: Deciding, said: _Sayer) -> list[str]:
    choice, best = told.choice, told.choice.named[0]
    names = [each.offer.setup for each in choice.bills]
    mine = next(each for each in choice.bills if each.offer.setup == best)
    costs = (f"it costs {_usd(mine.monthly_usd)} a month and {_usd(mine.per_million_good_usd)} for a million good "
             "requests.")
    idle = (f"{percent(mine.idle_share)} of what is paid stays idle; price divided by throughput would say "
            f"${figure(mine.peak_per_million_usd)} for a million ({mine.peak_words}).")
    lines = [f'Chosen option: "{markdown_escaped(best)}", because {said(_reason(choice), names)}', "",
             "### Consequences", "", f"* Good, because {said(costs, [best])}", f"* {said(_kept(mine), [best])}",
             f"* Neutral, because {said(idle, [best])}"]
    if told.cases:
        text = ("with its price ±30 %, the promise halved and doubled and the demand halved and doubled, it stays "
                f"chosen in {percent(held(told.cases, choice))} of {counted(told.cases)}.")
        lines.append(f"* Neutral, because {said(text, names)}")
    return ["## Decision Outcome", "", *lines, ""]


def _reason(choice: Choice) -> str:
    name, colon, why = choice.sentence.partition(": ")
    return why if colon and name == choice.named[0] else choice.sentence


def _kept(mine: Bill) -> str:
    if mine.broken_minutes < 0.5:
        return "Good, because no minute of the demand outruns the replicas that serve."
    return f"Bad, because the promise breaks in about {mine.broken_minutes:.0f} minutes a month, before replicas serve."


def _pros_and_cons(told: Deciding, said: _Sayer) -> list[str]:
    lines = ["## Pros and Cons of the Options", ""]
    best = {each.offer.setup for each in front(told.choice.bills)}
    for each in told.choice.bills:
        offer = each.offer
        lines += [f"### {markdown_escaped(offer.setup)}", ""]
        own = [offer.setup]
        carried = f"one replica carries {span(offer.rate)} requests/s ({offer.source})."
        lines.append(f"* Neutral, because {said(carried, own)}")
        pair = next((pair for pair in told.choice.pairs if pair.other == offer.setup), None)
        if pair is not None:
            text = f"its cost is {span(pair.ratio)} times that of {pair.best} ({pair.verdict})."
            word = "Bad" if pair.verdict == "dearer" else "Neutral"
            lines.append(f"* {word}, because {said(text, [*own, pair.best])}")
        if not math.isnan(offer.p99_ms.value):
            text = f"its p99 was {milliseconds(offer.p99_ms.value)} at {figure(offer.p99_at)} requests/s."
            lines.append(f"* {'Good' if offer.setup in best else 'Neutral'}, because {said(text, own)}")
        for name, fact in offer.facts.items():
            word = {True: "Good", False: "Bad", None: "Neutral"}[has(offer.facts, name)]
            word = "Neutral" if name in ("gpu", "moving_parts") else word
            lines.append(f"* {word}, because {said(f'{name}: {_fact(fact)}', own)}")
        lines.append("")
    return lines


def _more(told: Deciding, said: _Sayer, labels: Mapping[str, str], results: Path,
          path: Path) -> list[str]:
    best, decided = [told.choice.named[0]], told.decided
    expiry = [f"demand: the mean grows above {figure(decided.demand_above)} requests/s.",
              f"price: an hour moves by more than {decided.price_change:.0%} from ${decided.hourly_usd:g}.",
              f"p99: newer runs under the same load, with the same knobs, are above {figure(decided.p99_above_ms)} ms.",
              "engine: the setup's lock names other versions than were measured.",
              f"age: the evidence is older than {decided.old_days} days (measured {decided.measured}).",
              "evidence: a run is missing or altered."]
    assumed = {line: each.offer.setup for each in reversed(told.choice.bills) for line in each.assumptions}
    folders = {folder.name: linkable(os.path.relpath(folder, path.parent)) for folder in run_folders(results)}
    lines = ["## More Information", "", "### Expiry", "", "Decide again when one of these comes to pass:", "",
             *(f"* {said(line, best)}" for line in expiry), "", "### Assumptions", "",
             *(f"* {said(line, [name])}" for line, name in reversed(assumed.items())), "", "### Evidence", "",
             f"Each run is proved whole and unaltered by `tailrace verify RUN --results {quote(str(results))}`.", ""]
    for name, label in labels.items():
        lines += [f"* **{label}** {markdown_escaped(name)}",
                  *(f"  * [{markdown_escaped(run)}]({folders.get(run, '')})" for run in told.runs[name])]
    return lines


def _fact(fact: bool | str) -> str:
    return fact if isinstance(fact, str) else "yes" if fact else "no"


def _usd(money: Interval) -> str:
    return f"${span(money)}"


def span(interval: Interval) -> str:
    """`120 (110 to 131)`; the value alone where the ends are the same, "unbounded" where they say nothing."""
    if not bounded(interval):
        return f"{figure(interval.value)} (unbounded)"
    ends = figure(interval.low), figure(interval.high)
    return figure(interval.value) if ends[0] == ends[1] else f"{figure(interval.value)} ({ends[0]} to {ends[1]})"
