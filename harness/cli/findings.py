"""`tailrace report` and `compare`: what the records say."""

from collections.abc import Sequence
from pathlib import Path

from harness.analyse.model import Analysis
from harness.catalog.discover import find_catalog
from harness.catalog.plan import Plan
from harness.cli.show import dump, screen
from harness.errors import Exit, UsageError
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
           usd_per_kwh: float | None = None, against: Path | None = None) -> int:
    """Writes the report's files and says where; the gate's exit code when asked for. With `against`, the notebook of
    two machines, or of CPU and GPU, instead. Raises UsageError for a gate of the latter."""
    title, question = plan_words(plan)
    if against:
        if gate:
            raise UsageError("--gate judges one machine's promises", "leave out --gate or --against")
        _report_devices(Options(str(results), plan, None, tuple(prices), True, title, question, usd_per_kwh), against,
                        out)
        return Exit.OK
    analysis = write(Options(str(results), plan, baseline, tuple(prices), False, title, question, usd_per_kwh), out)
    page = screen()
    page.print(analysis.sentence, markup=False, highlight=False)
    for name in FILES:
        page.print(f"  {out / name}", markup=False, highlight=False)
    return gate_code(analysis) if gate else Exit.OK


def compare(results: Path, baseline: str | None, plan: str | None, prices: Sequence[str], force: bool,
            as_json: bool, usd_per_kwh: float | None = None, against: Path | None = None) -> None:
    """The benchstat-like table, or the whole analysis as JSON; with `against`, those of two machines, or of CPU and
    GPU."""
    title, question = plan_words(plan)
    if against:
        _compare_devices(Options(str(results), plan, None, tuple(prices), True, title, question, usd_per_kwh), against,
                         as_json)
        return
    analysis = analysed(Options(str(results), plan, baseline, tuple(prices), force, title, question, usd_per_kwh))
    if as_json:
        dump(summary(analysis))
        return
    screen().print(text(analysis))
    screen().print(analysis.sentence, markup=False, highlight=False)


def _report_devices(options: Options, against: Path, out: Path) -> None:
    from harness.report import sides, sides_story  # noqa: PLC0415 -- matplotlib takes a second to import

    told = sides_story.report(options, [against], out)
    page = screen()
    page.print(sides.text(told.across))
    for name in sides_story.FILES:
        page.print(f"  {out / name}", markup=False, highlight=False)


def _compare_devices(options: Options, against: Path, as_json: bool) -> None:
    from harness.report import sides, sides_story  # noqa: PLC0415 -- as above

    told = sides_story.devices(options, [against])
    if as_json:
        dump(sides_story.summary(told))
    else:
        screen().print(sides.text(told.across))
