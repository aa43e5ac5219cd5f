"""The `tailrace` command: turns errors into one sentence and an exit code."""

import sys
from collections.abc import Sequence

from harness.errors import Exit, TailraceError

TYPER_INTERRUPTED = 130
RESUMABLE = ("run", "tune")


def main() -> None:
    """Run the command and leave with its exit code; never shows a traceback for a user's mistake."""
    from harness.cli.app import app  # noqa: PLC0415  typer is loaded only when a command is run

    try:
        app()
    except TailraceError as error:
        print(f"tailrace: {error}", file=sys.stderr)
        sys.exit(error.code)
    except SystemExit as leaving:
        if leaving.code != TYPER_INTERRUPTED:
            raise
        print(f"tailrace: interrupted; {_left(sys.argv[1:])}", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)


def _left(arguments: Sequence[str]) -> str:
    """What an interrupted command left, and how to go on."""
    resumes = next(iter(arguments), "") in RESUMABLE
    return "what was measured is kept" + (", `--resume` goes on from here" if resumes else "")
