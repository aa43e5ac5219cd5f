"""`tailrace report` and `compare`: what the records say."""

from collections.abc import Sequence
from pathlib import Path

from harness.analyse.model import Analysis
from harness.catalog.discover import find_catalog
from harness.catalog.plan import Plan
from harness.cli.show import dump, screen
from harness.errors import Exit
from harness.report.options import Options, analysed
from harness.report.tables import text
from harness.report.write import FILES, summary
from harness.report.write import report as write

WORST_FIRST = (("invalid", Exit.INVALID), ("fail", Exit.BROKEN_PROMISE), ("inconclusive", Exit.INCONCLUSIVE))


def gate_code(analysis: Analysis) -> int:
    """The exit code of the worst verdict; a failed cell counts as invalid."""
    if analysis.failed:
        return Exit.INVALID
    found = {cell.verdict for cell in analysis.cells}
    return next((code for verdict, code in WORST_FIRST if verdict in found), Exit.OK)


def plan_words(plan: Plan | str | None) -> tuple[str, str]:
    """The plan's title and question; empty where the name is no plan here."""
    if isinstance(plan, Plan):
        return plan.title, plan.question
    catalog = find_catalog()
    if plan is None or plan not in catalog.plan_names():
        return "", ""
    found = catalog.plan(plan)
    return found.title, found.question


def report(results: Path, out: Path, plan: str | None, baseline: str | None, prices: Sequence[str], gate: bool,
           usd_per_kwh: float | None = None) -> int:
    """Writes the report's files and says where; the gate's exit code when asked for."""
    title, question = plan_words(plan)
    analysis = write(Options(str(results), plan, baseline, tuple(prices), False, title, question, usd_per_kwh), out)
    page = screen()
    page.print(analysis.sentence, markup=False, highlight=False)
    for name in FILES:
        page.print(f"  {out / name}", markup=False, highlight=False)
    return gate_code(analysis) if gate else Exit.OK


def compare(results: Path, baseline: str | None, plan: str | None, prices: Sequence[str], force: bool,
            as_json: bool, usd_per_kwh: float | None = None) -> None:
    """The benchstat-like table, or the whole analysis as JSON."""
    title, question = plan_words(plan)
    analysis = analysed(Options(str(results), plan, baseline, tuple(prices), force, title, question, usd_per_kwh))
    if as_json:
        dump(summary(analysis))
        return
    screen().print(text(analysis))
    screen().print(analysis.sentence, markup=False, highlight=False)
