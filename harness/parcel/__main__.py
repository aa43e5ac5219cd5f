"""`python3 -m harness.parcel DIR`: from a parcel to a running tailrace on a machine that reaches no registry."""

import argparse
import sys
from functools import partial
from pathlib import Path

from harness.errors import Exit, TailraceError
from harness.parcel.unpack import ROOT, Wanted, unpack


def main() -> int:
    """The exit code; errors are one sentence."""
    parser = argparse.ArgumentParser(prog="python3 -m harness.parcel", description=__doc__)
    parser.add_argument("parcel", type=Path, help="the folder with part-1, part-2, … that `tailrace pack` wrote")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the environment to make (default .venv)")
    parser.add_argument("--system-packages", action="store_true",
                        help="use what this Python has installed already (PyTorch, say)")
    given = parser.parse_args()
    try:
        unpack(Wanted(given.parcel, given.venv.absolute(), given.system_packages), partial(print, flush=True))
    except TailraceError as error:
        print(f"tailrace: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("tailrace: interrupted; run it again", file=sys.stderr)
        return Exit.INTERRUPTED
    print(f"ready: {given.venv / 'bin' / 'tailrace'} run …")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
