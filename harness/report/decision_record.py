"""A choice as an architectural decision record in the form of MADR 4.0, every figure with what it rests on."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from shlex import join, quote
from typing import Any
from urllib.parse import quote as linkable

from harness.analyse.model import Cell, Interval
from harness.decide.bill import Bill
from harness.decide.choice import Choice, Wish
from harness.decide.choice_facts import PARTS, has
from harness.decide.choice_grid import Case, counted, front, held
from harness.decide.choice_recheck import Decided, front_matter
from harness.decide.demand import Curve
from harness.record.layout import run_folders
from harness.report.decision_sources import DEMAND, QUESTION, Sources
from harness.report.select import bounded
from harness.report.words import clean, figure, listed, markdown_escaped, milliseconds, percent


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
    """The record's text for a file at `path`. Raises TailraceError where a candidate has no run behind it."""
    said = Sources(told.runs, {each.offer.setup: each for each in told.choice.bills})
    favourite = told.choice.named[0]
    parts = [
        "---", 'status: "proposed"', f"date: {today.isoformat()}", front_matter(told.decided), "---", "",
        f"# Serve {markdown_escaped(told.workload)} with {markdown_escaped(favourite)}", "",
        *_context(told, said), *_options(told, said), *_outcome(told, said),
        "### Confirmation", "",
        "This decision is checked again, its evidence with it, by the command below. It exits with zero while every "
        "trigger under Expiry is quiet, and otherwise says which one has fired or can no longer be evaluated.", "",
        "```bash", f"tailrace decide --recheck {quote(str(path))} --results {quote(str(results))}", "```", "",
        "This one decides again, with what was given then and the records of that day.", "",
        "```bash", command(told.decided.question, results, path.parent), "```", "",
        *_pros_and_cons(told, said), *_more(told, said, results, path),
    ]
    return "\n".join(parts).rstrip() + "\n"


def command(question: Mapping[str, Any], results: Path, out: Path) -> str:
    """The command line that asks the question, a table of its options by name, of the records in `results`."""
    words = ["tailrace", "decide"]
    for name, value in {**question, "results": str(results), "out": str(out)}.items():
        for each in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(each)] if each != "" else []
    return join(words)


def next_path(folder: Path, workload: str, setup: str) -> Path:
    """The next free numbered file in a folder of decisions."""
    taken = [int(path.name[:4]) for path in folder.glob("[0-9][0-9][0-9][0-9]-*.md")]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", f"serve-{workload}-with-{setup}").strip("-")
    return folder / f"{max(taken, default=0) + 1:04d}-{plain}.md"


def _context(told: Deciding, said: Sources) -> list[str]:
    promise = " and ".join(f"{metric} {bound}" for metric, bound in told.wish.slo.items())
    drivers = ["Cost per million good requests at this demand, with spare replicas and idle hours counted.",
               "The promise, kept in every minute as far as replicas can."]
    drivers += [f"Must: {name} is {'yes' if wanted else 'no'}." for name, wanted in told.wish.musts.items()]
    drivers += [f"Weighed among equals: {listed(list(told.wish.weights))}."] if told.wish.weights else []
    inputs = {key: value for key, value in told.decided.question.items() if value}
    return ["## Context and Problem Statement", "",
            said.told(f"Which setup should serve {told.workload} ({told.title}) so that {promise} is kept at the "
                      f"demand {told.demand.name}, with how many replicas, and for how much?", [QUESTION, DEMAND]), "",
            "What was given, not measured:", "",
            "```toml", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in inputs.items()),
            f"demand_mean_per_s = {told.demand.mean:.6g}", f"demand_peak_per_s = {told.demand.peak:.6g}",
            *(clean(f"usd_per_hour.{json.dumps(each.offer.setup)} = {each.offer.hourly_usd:g} "
                    f"# {each.offer.instance}, {each.offer.price_words}") for each in told.choice.bills),
            clean(f"# replicas: {told.choice.bills[0].fleet.words}"), "```", "",
            "## Decision Drivers", "", *(f"* {said.told(line, [QUESTION])}" for line in drivers), ""]


def _options(told: Deciding, said: Sources) -> list[str]:
    lines = [f"* {markdown_escaped(each.offer.setup)}" for each in told.choice.bills]
    for name, why in told.choice.without.items():
        text = f"{name}: not a candidate: {why}"
        lines.append(f"* {said.computed(text, said.measured(name) if told.runs.get(name) else [QUESTION])}")
    return ["## Considered Options", "", *lines, ""]


def _outcome(told: Deciding, said: Sources) -> list[str]:
    choice, best = told.choice, told.choice.named[0]
    names = [each.offer.setup for each in choice.bills]
    mine = next(each for each in choice.bills if each.offer.setup == best)
    bill = said.billed(best)
    costs = (f"it costs {_usd(mine.monthly_usd)} a month and {_usd(mine.per_million_good_usd)} for a million good "
             "requests.")
    idle = (f"{percent(mine.idle_share)} of what is paid stays idle; price divided by throughput would say "
            f"${figure(mine.peak_per_million_usd)} for a million ({mine.peak_words}).")
    reason = said.computed(_reason(choice), said.billed(*names))
    lines = [f'Chosen option: "{markdown_escaped(best)}", because {reason}', "",
             "### Consequences", "", f"* Good, because {said.computed(costs, bill)}",
             f"* {said.computed(_kept(mine), bill)}", f"* Neutral, because {said.computed(idle, bill)}"]
    if told.cases:
        text = ("with its price ±30 %, the promise halved and doubled and the demand halved and doubled, it stays "
                f"chosen in {percent(held(told.cases, choice))} of {counted(told.cases)}.")
        lines.append(f"* Neutral, because {said.computed(text, said.billed(*names))}")
    return ["## Decision Outcome", "", *lines, ""]


def _reason(choice: Choice) -> str:
    name, colon, why = choice.sentence.partition(": ")
    return why if colon and name == choice.named[0] else choice.sentence


def _kept(mine: Bill) -> str:
    if mine.broken_minutes < 0.5:
        return "Good, because no minute of the demand outruns the replicas that serve."
    return f"Bad, because the promise breaks in about {mine.broken_minutes:.0f} minutes a month, before replicas serve."


def _pros_and_cons(told: Deciding, said: Sources) -> list[str]:
    lines = ["## Pros and Cons of the Options", ""]
    best = {each.offer.setup for each in front(told.choice.bills)}
    for each in told.choice.bills:
        offer = each.offer
        lines += [f"### {markdown_escaped(offer.setup)}", ""]
        own = said.measured(offer.setup)
        carried = f"one replica carries {span(offer.rate)} requests/s ({offer.source})."
        lines.append(f"* Neutral, because {said.computed(carried, said.carried(offer.setup))}")
        pair = next((pair for pair in told.choice.pairs if pair.other == offer.setup), None)
        if pair is not None:
            text = f"its cost is {span(pair.ratio)} times that of {pair.best} ({pair.verdict})."
            word = "Bad" if pair.verdict == "dearer" else "Neutral"
            lines.append(f"* {word}, because {said.computed(text, said.billed(offer.setup, pair.best))}")
        if not math.isnan(offer.p99_ms.value):
            text = f"its p99 was {milliseconds(offer.p99_ms.value)} at {figure(offer.p99_at)} requests/s."
            lines.append(f"* {'Good' if offer.setup in best else 'Neutral'}, because {said.computed(text, own)}")
        for name, fact in offer.facts.items():
            word = {True: "Good", False: "Bad", None: "Neutral"}[has(offer.facts, name)]
            word = "Neutral" if name in ("gpu", "moving_parts") else word
            sentence = said.computed if name == PARTS else said.told
            lines.append(f"* {word}, because {sentence(f'{name}: {_fact(fact)}', own)}")
        lines.append("")
    return lines


def _more(told: Deciding, said: Sources, results: Path, path: Path) -> list[str]:
    assumed = {line: each.offer.setup for each in reversed(told.choice.bills) for line in each.assumptions}
    return ["## More Information", "", "### Expiry", "",
            "Decide again when one of these comes to pass. The limits stand in the front matter.", "",
            *(f"* {line}" for line in _expiry(told, said)), "", "### Assumptions", "",
            *(f"* {said.assumed(line, name)}" for line, name in reversed(assumed.items())), "", "### Evidence", "",
            "A label says where a figure stands, or, after \"Computed from\", what it was computed from. Each run is "
            f"proved whole and unaltered by `tailrace verify RUN --results {quote(str(results))}`.", "",
            f"* **{DEMAND}** {markdown_escaped(f'the demand {told.demand.name}')}, and **{QUESTION}** what else was "
            "given: both in the block under Context",
            *(f"* **P{said.number(name)}** {markdown_escaped(f'{name}: {_price(bill)}')}"
              for name, bill in sorted(said.bills.items())), *_runs(told, said, results, path)]


def _expiry(told: Deciding, said: Sources) -> list[str]:
    decided, best = told.decided, told.choice.named[0]
    grown = (f"demand: the mean of {told.demand.name} grows from {figure(told.demand.mean)} to above "
             f"{figure(decided.demand_above)} requests/s.")
    moved = f"price: an hour of {best} moves by more than {decided.price_change:.0%} from {_price(said.bills[best])}."
    slower = ("p99: newer runs under the same load, with the same knobs, are above "
              f"{milliseconds(decided.p99_above_ms)}.")
    aged = (f"age: a candidate's newest evidence is older than {decided.old_days} days (the oldest: "
            f"{decided.measured}).")
    return [said.computed(grown, [DEMAND]), said.told(moved, said.priced(best)),
            *([said.computed(slower, said.measured(best))] if math.isfinite(decided.p99_above_ms) else []),
            *(["engine: the locks would install another engine than was measured."] if decided.versions else []),
            said.computed(aged, said.measured(*(name for name, runs in told.runs.items() if runs))),
            "evidence: a run is missing or altered."]


def _price(bill: Bill) -> str:
    return f"${bill.offer.hourly_usd:g} ({bill.offer.instance}, {bill.offer.price_words})"


def _runs(told: Deciding, said: Sources, results: Path, path: Path) -> list[str]:
    folders = {folder.name: linkable(os.path.relpath(folder, path.parent)) for folder in run_folders(results)}
    lines = []
    for name in sorted(name for name, runs in told.runs.items() if runs):
        lines += [f"* **E{said.number(name)}** {markdown_escaped(name)}",
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
