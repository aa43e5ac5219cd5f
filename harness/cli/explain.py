"""`tailrace explain`: why the slowest percent of a run was slow."""

from dataclasses import asdict
from pathlib import Path

from harness.analyse.explain import Example, Explanation
from harness.analyse.explain import explain as explained
from harness.cli.show import dump, grid, screen
from harness.errors import TailraceError
from harness.record.read import open_run, run_named

MOST_PARTS = 3
PAUSES = {"host": "of the machine", "server": "of the server", "server_collector": "of the server's garbage collector",
          "generator_collector": "of the generator's garbage collector"}


def explain(run: Path, results: Path, out: Path | None, as_json: bool) -> None:
    """Words and tables, or JSON; the figure where `out` names a file. Raises TailraceError."""
    found = explained(open_run(run_named(run, results)))
    if out is not None:
        _draw(found, out)
    if as_json:
        dump({"schema": 1, **asdict(found)})
    else:
        _show(found, out)


def _draw(found: Explanation, out: Path) -> None:
    from harness.report.slowest import run_figure  # noqa: PLC0415 -- matplotlib takes a second to import

    try:
        out.write_text(run_figure(found), encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{out}: the figure cannot be written: {error.strerror}",
                            "give another file with --out") from None


def _show(found: Explanation, out: Path | None) -> None:
    from harness.report.slowest import PART_SAID, SAID, conclusion  # noqa: PLC0415 -- as above
    from harness.report.words import figure, milliseconds, percent  # noqa: PLC0415

    page = screen()

    def say(line: str) -> None:
        page.print(line, markup=False, highlight=False)

    say(conclusion(found))
    page.print(grid("Causes", ("cause", "share of the delay", "requests"), (
        (SAID[cause][0], percent(share), str(found.main.get(cause, 0))) for cause, share in found.shares.items())))
    page.print(grid("Where the time goes (ms)", ("part", "usual", "slowest percent"), (
        (PART_SAID[part], figure(found.usual_ms[part]), figure(found.slow_ms[part])) for part in found.usual_ms)))
    page.print(grid("Examples", ("cause", "share", "seq", "due s", "latency", "spent in"), (
        (SAID[each.cause][0], percent(each.share), str(each.seq), f"{each.due_s:.3f}", milliseconds(each.latency_ms),
         _spent(each, PART_SAID)) for each in found.examples)))
    for kind, (count, total_ms) in found.pauses.items():
        say(f"{count} pauses {PAUSES[kind]}, {milliseconds(total_ms)} in all.")
    say(f"Parts sum to the whole within 2 % or 0.1 ms for {percent(found.sums)} of the answers.")
    for line in found.cannot:
        say(line)
    if out is not None:
        say(f"  {out}")


def _spent(example: Example, words: dict[str, str]) -> str:
    parts = sorted(example.parts_ms.items(), key=lambda item: -item[1])[:MOST_PARTS]
    return ", ".join(f"{words[part]} {value:.1f}" for part, value in parts if value >= 0.05)
