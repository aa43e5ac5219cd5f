"""The ways a command can end, and the one exception a user ever sees.

A message is one sentence: what is wrong and where; the hint says what to try.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes, as promised in docs/design.md."""

    OK = 0
    USAGE = 2
    BROKEN_PROMISE = 99
    BAD_CONFIGURATION = 104
    INTERRUPTED = 105
    INCONCLUSIVE = 110
    INVALID = 111


class TailraceError(Exception):
    """What went wrong, where, and what to try; ends the command with `code` and no traceback."""

    code = Exit.BAD_CONFIGURATION

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(TailraceError):
    """The command line asks for something that does not exist or contradicts itself."""

    code = Exit.USAGE


class RunFailedError(TailraceError):
    """A run was attempted and did not produce rows; its record says why."""

    code = Exit.INVALID
