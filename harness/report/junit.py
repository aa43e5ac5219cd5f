"""The verdicts for a CI system: one test case per cell."""

from collections.abc import Iterable
from typing import Any

from harness.analyse.model import Analysis
from harness.report.select import matches
from harness.report.words import clean

OUTCOME = {"fail": "Failure", "invalid": "Error", "failed": "Error", "inconclusive": "Skipped", "skipped": "Skipped"}


def junit(analysis: Analysis) -> bytes:
    """JUnit XML: a broken promise is a failure, an invalid or failed measurement an error, an inconclusive or skipped
    one is skipped with its reason (never passed)."""
    import junitparser  # noqa: PLC0415 -- only a report needs it

    xml = junitparser.JUnitXml(clean(analysis.plan))
    for match in matches(analysis):
        judged = [(cell.setup, cell.verdict, cell.verdict_reason) for cell in match.cells]
        xml.add_testsuite(_suite(match.title, judged))
    for word, reasons in (("failed", analysis.failed), ("skipped", analysis.skipped)):
        if reasons:
            xml.add_testsuite(_suite(word, ((name, word, why) for name, why in reasons.items())))
    xml.update_statistics()  # type: ignore[no-untyped-call]  # junitparser types it not
    return bytes(xml.tostring())  # type: ignore[no-untyped-call]


def _suite(title: str, judged: Iterable[tuple[str, str, str]]) -> Any:
    """A suite of (name, verdict, reason)."""
    import junitparser  # noqa: PLC0415

    suite = junitparser.TestSuite(clean(title))
    for name, verdict, why in judged:
        case = junitparser.TestCase(clean(name), clean(title))
        if verdict in OUTCOME:
            case.result = [getattr(junitparser, OUTCOME[verdict])(clean(f"{verdict}: {why}"), verdict)]
        else:
            case.system_out = clean(f"{verdict}: {why}")
        suite.add_testcase(case)
    return suite
