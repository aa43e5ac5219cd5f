"""What a report is made of: the records, and how they are to be read."""

from dataclasses import dataclass
from pathlib import Path

from harness.analyse.model import Analysis
from harness.analyse.summary import analyse
from harness.catalog.discover import find_catalog
from harness.decide.cost import with_costs
from harness.decide.prices import newest_prices, parse_prices

ENVIRONMENT = "TAILRACE_REPORT"


@dataclass(frozen=True)
class Options:
    """The folder of records; the plan whose runs count (all where None); the baseline instead of the planned one;
    prices such as `flask=0.34/h`; whether unlike machines may be compared; the plan's title and question."""

    results: str
    plan: str | None = None
    baseline: str | None = None
    prices: tuple[str, ...] = ()
    force: bool = False
    title: str = ""
    question: str = ""


def analysed(options: Options) -> Analysis:
    """The analysis of the records with costs. Raises TailraceError."""
    analysis = analyse(Path(options.results), options.plan, options.baseline, force=options.force,
                       title=options.title, question=options.question)
    given = parse_prices(options.prices, sorted({cell.setup for cell in analysis.cells}))
    return with_costs(analysis, newest_prices(find_catalog().root), given)
