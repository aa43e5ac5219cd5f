"""`tailrace audit`: what the harness would catch on this machine, and what it would see that is not there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.table import Table

from harness.audit.lab import RATE, WINDOW_S
from harness.audit.model import Audit, Outcome, Trial
from harness.audit.run import audit as examine
from harness.cli.show import dump, grid, screen
from harness.errors import Exit

SHOWN = 140
WIDTHS = (56, 12, 66)
EXITS: Mapping[Outcome, Exit] = {"trusted": Exit.OK, "distrusted": Exit.INVALID, "untold": Exit.INCONCLUSIVE}


def audit(quick: bool, minutes: float | None, as_json: bool) -> int:
    """Tables of faults, accusations and noise; 111 when less than 95 % is caught or a clean run is accused, 110 when
    too little was tried to tell."""
    page = screen(stderr=as_json)
    made = examine(quick, lambda line: page.print(f"  {line[:SHOWN]}", markup=False, highlight=False),
                   minutes)
    if as_json:
        kinds, runs = made.left_out
        dump({**asdict(made), "caught": made.caught, "tries": len(made.trials), "outcome": made.outcome,
              "left_out": {"kinds": kinds, "clean_runs": runs}})
        return EXITS[made.outcome]
    page.print(_words("Faults, seeded and looked for", ("fault", "caught", "what was said"),
                      [_row(list(tries)) for _, tries in groupby(made.trials, lambda trial: trial.fault + trial.how)]))
    if made.false:
        page.print(_words("Clean runs accused", ("run", "check", "what was said"), made.false))
    if made.noise:
        heads = ("figure", "A ÷ B", "p", "noise", *(f"n = {n}" for n in made.noise[0].detectable))
        title = (f"Noise floor of a toy server, {made.pairs} pairs of like runs of {WINDOW_S:g} s at {RATE:g}/s: "
                 "what difference n repetitions would tell")
        page.print(grid(title, heads, [(each.metric, f"{each.ratio:.3f}", f"{each.p_value:.2f}", f"{each.spread:.1%}",
                                       *(f"{ratio - 1:.1%}" for ratio in each.detectable.values()))
                                       for each in made.noise]))
    page.print(sentence(made), markup=False, highlight=False)
    return EXITS[made.outcome]


def sentence(made: Audit) -> str:
    """Both counts, what was left out, and what they mean."""
    kinds = len({(trial.fault, trial.how) for trial in made.trials})
    accused = len({run for run, _, _ in made.false})
    return (f"{made.caught} of {len(made.trials)} tries at {kinds} kinds of faults were caught; {accused} of "
            f"{made.clean_runs} clean runs on an idle machine were accused ({made.disturbed} more were disturbed from "
            f"outside and do not count; {made.seconds:.0f} s in all): {_meaning(made)}")


def _meaning(made: Audit) -> str:
    lacking, runs = made.left_out
    left = (f"{lacking} of {made.asked.kinds} kinds were not tried {_times(made.asked.tries)}, and {runs} of "
            f"{made.asked.clean_runs} clean runs were not made")
    if made.outcome == "distrusted":
        return ((f"{left}; " if lacking or runs else "")
                + "stop other work on this machine and run it again; if it stays so, report it.")
    if made.outcome == "untold":
        return f"too little was tried to tell: {left}; stop other work on this machine, or give it more --minutes."
    return "measurements here can be trusted as far as that goes."


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _row(tries: list[Trial]) -> tuple[str, str, str]:
    missed = next((trial for trial in tries if not trial.caught), tries[0])
    return f"{missed.fault}: {missed.how}", f"{sum(trial.caught for trial in tries)}/{len(tries)}", missed.said


def _words(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of words, each row on one line, cut where there is no room."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for head, width in zip(heads, WIDTHS, strict=True):
        table.add_column(head, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        table.add_row(*row)
    return table
