"""What a person sees while runs go on: a live panel on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.catalog.device import arm
from harness.plan.attempt import Attempt
from harness.record.schema import RunMeta
from harness.report.words import figure
from harness.run.cell import Progress

MARKS = {"ok": "[green]ok[/]", "void": "[yellow]void[/]", "failed": "[red]failed[/]", "skipped": "[dim]skipped[/]"}
SHOWN_ROWS = 8


def name(attempt: Attempt) -> str:
    """`setup × workload × scenario@load r2`, as people say it."""
    load = "" if attempt.load == 1 else f"@{attempt.load:g}"
    who = arm(attempt.setup.name, attempt.device)
    return f"{who} × {attempt.workload.name} × {attempt.scenario.name}{load} r{attempt.repetition + 1}"


def clock(seconds: float) -> str:
    """`2:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


@dataclass
class LiveView:
    """Shows a plan's runs as they go, with figures of the whole run so far; use as a context manager. `console` decides
    between a live panel (terminal) and plain lines (anything else)."""

    console: Console
    total: int
    title: str
    finished_rows: list[tuple[str, str, str]] = field(default_factory=list)
    done: int = 0
    now: str = ""
    next: str = ""
    last: Progress | None = None
    since: float = field(default_factory=time.monotonic)
    begun: float = field(default_factory=time.monotonic)
    live: Live | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live = Live(self._panel(), console=self.console, auto_refresh=False, transient=True)
            self.live.__enter__()
        else:
            self.console.print(f"{self.title}: {self.total} runs", markup=False, highlight=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    def say(self, message: str) -> None:
        """A line about preparation."""
        self.console.print(f"  {message}", markup=False, highlight=False)

    def started(self, attempt: Attempt, upcoming: Attempt | None) -> None:
        """A run begins; `upcoming` is the one after it."""
        self.now, self.last, self.begun = name(attempt), None, time.monotonic()
        self.next = name(upcoming) if upcoming else ""
        self._refresh()

    def progress(self, progress: Progress) -> None:
        """The generators' latest word on the run that goes on."""
        self.last = progress
        self._refresh()

    def finished(self, attempt: Attempt, meta: RunMeta) -> None:
        """A run left its record."""
        self.done += 1
        said = meta.reason or self._figures()
        self.finished_rows.append((name(attempt), meta.status, said))
        self._refresh()
        if not self.live:
            self.console.print(f"[{self.done}/{self.total}] {meta.status:7} {name(attempt)}  {said}",
                               markup=False, highlight=False)

    def _figures(self) -> str:
        if self.last is None:
            return ""
        seen = self.last
        said = [f"{seen.done} answers", f"{figure(seen.rate)}/s", f"p50 {figure(seen.p50_ms)} ms",
                f"p99 {figure(seen.p99_ms)} ms", f"{seen.errors} errors"]
        return ", ".join(said) + (f"; {seen.judged}" if seen.judged else "")

    def _left(self) -> str:
        """From the runs that are over: the mean of one for each that is not, less what the present one has had."""
        if not self.done:
            return ""
        mean_s = (self.begun - self.since) / self.done
        left_s = mean_s * (self.total - self.done) - min(time.monotonic() - self.begun, mean_s)
        return f"about {clock(max(0.0, left_s))} left"

    def _refresh(self) -> None:
        if self.live:
            self.live.update(self._panel(), refresh=True)

    def _panel(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for run, status, said in self.finished_rows[-SHOWN_ROWS:]:
            table.add_row(Text.from_markup(MARKS[status]), Text(run), Text(said, style="dim"))
        if self.now and self.done < self.total:
            table.add_row(Text("▶", style="bold cyan"), Text(self.now, style="bold"), Text(self._figures()))
        if self.next:
            table.add_row(Text("next", style="dim"), Text(self.next, style="dim"), Text(""))
        head = Text(f"{self.title}   {self.done}/{self.total} runs   "
                    f"{clock(time.monotonic() - self.since)} spent   {self._left()}", style="bold")
        return Group(head, table)
