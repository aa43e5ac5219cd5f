"""The `tailrace` command: turns errors into one sentence and an exit code."""

import sys

from harness.errors import Exit, TailraceError

TYPER_INTERRUPTED = 130


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
        print("tailrace: interrupted; what was measured is kept, `--resume` goes on from here", file=sys.stderr)
        sys.exit(Exit.INTERRUPTED)
