"""What a report is made of: the records, and how they are to be read."""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from harness.analyse.model import Analysis
from harness.analyse.summary import analyse
from harness.catalog.device import arms, setup_of
from harness.catalog.discover import find_catalog
from harness.catalog.toml import nearest
from harness.decide.cost import with_costs
from harness.decide.prices import newest_prices, parse_prices
from harness.errors import TailraceError, UsageError

ENVIRONMENT = "TAILRACE_REPORT"      # Options as JSON, for the notebook's kernel
HANDED = "TAILRACE_ANALYSIS"         # the file in which that kernel finds the analysis, once it is made
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Options:
    """The folder of records; the plan whose runs count (all where None); the baseline instead of the planned one;
    prices such as `flask=0.34/h`, and of a kWh in USD; whether unlike machines may be compared; the plan's title and
    question; setups that may be named though nothing is recorded of them."""

    results: str
    plan: str | None = None
    baseline: str | None = None
    prices: tuple[str, ...] = ()
    force: bool = False
    title: str = ""
    question: str = ""
    usd_per_kwh: float | None = None
    setups: tuple[str, ...] = ()


def analysed(options: Options) -> Analysis:
    """The analysis of the records with costs. Raises TailraceError."""
    analysis = analyse(Path(options.results), options.plan, options.baseline, force=options.force,
                       title=options.title, question=options.question)
    known = _known(analysis, options.setups)
    if options.baseline and options.baseline not in known:
        raise UsageError(f"{options.results}: nothing of the baseline '{options.baseline}' is recorded here",
                         nearest(options.baseline, known))
    given = parse_prices(options.prices, known)
    return with_costs(analysis, newest_prices(find_catalog().root), given, options.usd_per_kwh,
                      datetime.now(UTC).date())


def _known(analysis: Analysis, planned: tuple[str, ...]) -> list[str]:
    """The names that a baseline or a price may bear."""
    told = [cell.setup for cell in analysis.cells]
    tried = [name.split(" × ")[0] for name in (*analysis.skipped, *analysis.failed)]
    return sorted({*told, *arms(map(setup_of, (*told, *tried, *planned)))})


def hand(analysis: Analysis | None, path: Path) -> None:
    """Leaves the analysis for the kernel that waits for it, so that rows are analysed once; None: there is none."""
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(asdict(analysis) if analysis else None), encoding="utf-8")
    aside.rename(path)


def received(path: Path) -> Analysis:
    """The analysis that `hand` leaves at `path`. Raises TailraceError when none is made."""
    until = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > until:
            raise TailraceError(f"{path}: no analysis came within {PATIENCE_S:g} s", "make the report again")
        time.sleep(0.02)
    table = json.loads(path.read_text(encoding="utf-8"))
    if table is None:
        raise TailraceError("the records could not be analysed", "the report's own message says why")
    return TypeAdapter(Analysis).validate_python(table)
