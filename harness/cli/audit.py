"""`tailrace audit`: what the harness would catch on this machine, and what it would see that is not there."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.table import Table

from harness.audit.model import Audit, Trial
from harness.audit.run import audit as examine
from harness.cli.show import dump, grid, screen
from harness.errors import Exit

SHOWN = 140
WIDTHS = (56, 12, 66)


def audit(quick: bool, as_json: bool) -> int:
    """Tables of faults, accusations and noise; 111 when less than 95 % is caught or a clean run is accused."""
    page = screen(stderr=as_json)
    made = examine(quick, lambda line: page.print(f"  {line[:SHOWN]}", markup=False, highlight=False))
    if as_json:
        dump({**asdict(made), "caught": made.caught, "tries": len(made.trials), "trusted": made.trusted})
        return Exit.OK if made.trusted else Exit.INVALID
    page.print(_words("Faults, seeded and looked for", ("fault", "caught", "what was said"),
                      [_row(list(tries)) for _, tries in groupby(made.trials, lambda trial: trial.fault + trial.how)]))
    if made.false:
        page.print(_words("Clean runs accused", ("run", "check", "what was said"), made.false))
    if made.noise:
        heads = ("figure", "A ÷ B", "p", "noise", *(f"n = {n}" for n in made.noise[0].detectable))
        title = f"Noise floor of {made.pairs} pairs of like runs: what difference n repetitions would tell"
        page.print(grid(title, heads, [(each.metric, f"{each.ratio:.3f}", f"{each.p_value:.2f}", f"{each.spread:.1%}",
                                       *(f"{ratio - 1:.1%}" for ratio in each.detectable.values()))
                                       for each in made.noise]))
    page.print(sentence(made), markup=False, highlight=False)
    return Exit.OK if made.trusted else Exit.INVALID


def sentence(made: Audit) -> str:
    """Both counts, and what they mean."""
    kinds = len({(trial.fault, trial.how) for trial in made.trials})
    accused = len({run for run, _, _ in made.false})
    return (f"{made.caught} of {len(made.trials)} tries at {kinds} kinds of faults were caught; {accused} of "
            f"{made.clean_runs} clean runs on an idle machine were accused ({made.disturbed} more were disturbed from "
            f"outside and do not count; {made.seconds:.0f} s in all): "
            + ("measurements here can be trusted as far as that goes." if made.trusted else
               "stop other work on this machine and run it again; if it stays so, report it."))


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
