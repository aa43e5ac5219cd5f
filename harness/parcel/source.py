"""Where packages come from on this machine, as the cache remembers; read by whatever builds an environment.

Only the standard library is used here: `python -m harness.parcel` runs before anything is installed.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import TailraceError

_FILE = "packages.json"


@dataclass(frozen=True)
class Source:
    """`wheels` are folders with wheels in them; `offline` asks no index; `system` is the Python of this machine whose
    preinstalled packages environments see and use, "" for none. Paths are absolute."""

    wheels: tuple[str, ...] = ()
    offline: bool = False
    system: str = ""

    def __str__(self) -> str:
        said = [f"wheels of {', '.join(self.wheels)}"] if self.wheels else []
        said += ["no index"] if self.offline else []
        said += [f"the packages of {self.system}"] if self.system else []
        return ", ".join(said)


def cache_folder() -> Path:
    """Where environments, prepared models and payloads are kept: $TAILRACE_CACHE or the user's cache folder."""
    given = os.environ.get("TAILRACE_CACHE")
    if given:
        return Path(given).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tailrace"


def source() -> Source:
    """What is remembered; nothing special where nothing is. Raises TailraceError when it cannot be read."""
    path = cache_folder() / _FILE
    try:
        told = json.loads(path.read_text("utf-8"))
        return Source(tuple(map(str, told["wheels"])), bool(told["offline"]), str(told["system"]))
    except FileNotFoundError:
        return Source()
    except (OSError, ValueError, KeyError, TypeError):
        raise TailraceError(f"{path}: cannot be read",
                            "remove it, or say `tailrace prepare --wheels …` again") from None


def remember(chosen: Source) -> None:
    """Keeps it for every later command with this cache; a Source() forgets. Raises TailraceError when it cannot be
    written."""
    path = cache_folder() / _FILE
    try:
        if chosen == Source():
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{_FILE}.{os.getpid()}")
        scratch.write_text(json.dumps(asdict(chosen), indent=1), "utf-8")
        scratch.replace(path)
    except OSError as error:
        raise TailraceError(f"{path}: cannot be written: {error.strerror}",
                            "set TAILRACE_CACHE to a folder that can be written") from None
