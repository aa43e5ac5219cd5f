"""What the comparison notebook calls: one function per question, each returning what a cell shows."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.analyse.model import Analysis
from harness.analyse.words import sentence
from harness.record.read import StoredRun, find_runs
from harness.record.schema import RunMeta
from harness.report import breakdown, captions, charts, gpu, method, service, tables, upkeep, validity
from harness.report import slowest as slow
from harness.report.canvas import Chart, Ink, inks
from harness.report.handed import HANDED, received
from harness.report.options import ENVIRONMENT, Options
from harness.report.rows import Drawings, of_cell, opened
from harness.report.select import Match, among, climbs, setups, typical
from harness.report.slowest import Slow
from harness.report.traces import Key, Trace, key, trace
from harness.report.words import clean, escaped


@dataclass(frozen=True)
class Shown:
    """What a notebook's cell shows: bundles of MIME type to content, in order. Every HTML in it is already escaped."""

    bundles: tuple[Mapping[str, str], ...]

    def _ipython_display_(self) -> None:
        from IPython.display import display  # noqa: PLC0415 -- only a kernel has it

        for bundle in self.bundles:
            display(dict(bundle), raw=True)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Results:
    """Records opened for a report: what they say, the runs on disk, and what figures need of every run with rows."""

    analysis: Analysis
    stored: Mapping[str, StoredRun] = field(repr=False)
    drawn: Drawings = field(repr=False)

    @cached_property
    def traces(self) -> dict[Key, Trace]:
        """The traces of every cell that has rows."""
        found = ((key(cell), of_cell(cell, self.drawn)) for cell in self.analysis.cells)
        return {name: trace([run.grid for run in runs], runs[0].duration_s) for name, runs in found if runs}

    def slow(self, match: Match) -> dict[str, Slow]:
        """What made the slowest percent slow, by setup, of every cell of the match that has answers enough."""
        found = ((cell.setup, slow.slow_cell(cell, self.drawn)) for cell in match.cells)
        return {setup: each for setup, each in found if each is not None}

    @property
    def ink(self) -> dict[str, Ink]:
        """How each setup is drawn, in every figure alike."""
        return inks(setups(self.analysis))

    @property
    def metas(self) -> list[RunMeta]:
        """What is known about every run that stands in the analysis."""
        return [self.stored[run.run_id].meta for cell in self.analysis.cells for run in cell.runs]


def open_results() -> Results:
    """The records that the environment names (`tailrace report` sets it), else those in `results` below the working
    folder. Raises TailraceError when there is none."""
    given, handed = os.environ.get(ENVIRONMENT), os.environ.get(HANDED)
    options = Options(**json.loads(given)) if given else Options(results="results")
    analysis, drawn = received(Path(handed)) if handed else opened(options)
    return Results(analysis, {run.meta.run_id: run for run in find_runs(options.folder).runs}, drawn)


def headline(results: Results) -> Shown:
    """The question, and one sentence per workload, scenario and load."""
    analysis = results.analysis
    grown = {(climb[0].workload, climb[0].scenario): captions.loads(climb) for climb in climbs(analysis)}
    found = [(captions.lead(match), f"{captions.ranking(match)} {grown.get((match.workload, match.scenario), '')}",
              sentence(match.cells, among(analysis, match))) for match in typical(analysis)]
    title, question = clean(analysis.title), clean(analysis.question)
    many = len(setups(analysis)) > charts.MANY
    items = "".join(f"<li><b>{escaped(lead)}</b> {escaped(rank)} {_aside(more, folded=many)}</li>"
                    for lead, rank, more in found or [(analysis.sentence, "", "")])
    page = f"<h1>{escaped(title)}</h1><p class='question'>{escaped(question)}</p><ul class='found'>{items}</ul>"
    return _html(page, "\n".join([title, question, *(f"{lead} {rank}" for lead, rank, _ in found)]))


def comparison(results: Results) -> Shown:
    """The table of verdicts, latencies, goodput, errors and cost."""
    return Shown(tuple({"text/html": tables.html(table), "text/plain": table.title}
                       for table in tables.tables(results.analysis)))


def tails(results: Results) -> Shown:
    """How slow the slowest requests are."""
    return _charts(charts.tails(match, results.traces, results.ink) for match in typical(results.analysis))


def over_time(results: Results) -> Shown:
    """How latency moved while the load ran, and when requests failed."""
    return _charts(charts.over_time(match, results.traces, results.ink) for match in typical(results.analysis))


def time_spent(results: Results) -> Shown:
    """In which part of its way a request spends its time."""
    return _charts(breakdown.times(match) for match in typical(results.analysis))


def slowest(results: Results) -> Shown:
    """Why the slowest percent of each setup was slow; a sentence where no setup has answers enough to tell."""
    told = [(match, results.slow(match)) for match in typical(results.analysis)]
    drawn = _charts(slow.causes(match, why) for match, why in told if why)
    silent = [f"{match.title}: {slow.caption(match, why)}" for match, why in told if not why]
    return Shown((*drawn.bundles, *(each for said in silent for each in _said(said).bundles)))


def batch_sizes(results: Results) -> Shown:
    """In what batches requests were served."""
    return _charts(breakdown.batches(match, results.ink) for match in typical(results.analysis))


def service_time(results: Results) -> Shown:
    """How long batches of each size took, over all scenarios and loads."""
    told = service.curves(results.analysis, results.drawn)
    if not told:
        return _said("No setup here tells of batches of several sizes.")
    return _charts(service.service(workload, curves, results.ink) for workload, curves in told.items())


def more_load(results: Results) -> Shown:
    """What happens as the load grows, where a plan has several loads."""
    grown = climbs(results.analysis)
    if not grown:
        return _said("Each workload met one load: these records do not tell how goodput and latency move with it.")
    return _charts(breakdown.loads(climb, results.ink) for climb in grown)


def trust(results: Results) -> Shown:
    """Whether the figures may be trusted, and what speaks against it."""
    return _html(validity.html(results.analysis), validity.conclusion(results.analysis))


def contract(results: Results) -> Shown:
    """Which points of its contract each setup was seen to keep."""
    return _html(upkeep.contract_html(results.analysis), upkeep.contract_conclusion(results.analysis.contracts))


def kept(results: Results) -> Shown:
    """What each setup takes to run and to keep, and what the GPU did where one was used."""
    page = upkeep.upkeep_html(results.analysis) + gpu.html(results.analysis)
    return _html(page, f"{len(results.analysis.upkeep)} setups")


def how_measured(results: Results) -> Shown:
    """Machine, load, versions, prices, and the runs with the command that proves each."""
    return _html(method.html(results.analysis, results.metas), f"{len(results.metas)} runs")


def _aside(text: str, *, folded: bool) -> str:
    """What is said beside a finding; behind a fold where it is long."""
    said = f"<small>{escaped(text)}</small>"
    return f"<details><summary>Every figure in words</summary>{said}</details>" if folded and text else said


def _charts(drawn: Iterator[Chart]) -> Shown:
    bundles: list[Mapping[str, str]] = []
    for chart in drawn:
        bundles += [{"image/svg+xml": chart.svg, "text/plain": chart.title}, *_said(chart.caption).bundles]
    return Shown(tuple(bundles))


def _said(conclusion: str) -> Shown:
    return _html(f"<p class='conclusion'>{escaped(conclusion)}</p>", conclusion)


def _html(page: str, plain: str) -> Shown:
    bundle: dict[str, Any] = {"text/html": page, "text/plain": plain}
    return Shown((bundle,))
