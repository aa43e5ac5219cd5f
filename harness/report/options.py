"""What a report is made of: the records, and how they are to be read."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.analyse.model import Analysis
from harness.analyse.summary import Beside, analyse
from harness.catalog.device import arms, setup_of
from harness.catalog.discover import find_catalog
from harness.catalog.toml import nearest
from harness.decide.cost import with_costs
from harness.decide.prices import newest_prices, parse_prices
from harness.errors import UsageError

ENVIRONMENT = "TAILRACE_REPORT"      # Options as JSON, for the notebook's kernel


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

    @property
    def folder(self) -> Path:
        """The folder of records."""
        return Path(self.results)


def analysed(options: Options, beside: Beside | None = None) -> Analysis:
    """The analysis of the records with costs; `beside` is what else is made of their rows. Raises TailraceError."""
    analysis = analyse(options.folder, options.plan, options.baseline, force=options.force,
                       title=options.title, question=options.question, beside=beside)
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
