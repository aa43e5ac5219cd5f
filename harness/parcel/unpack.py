"""Makes a checkout's own environment out of a parcel: no index, no pip, nothing that was not locked.

Only the standard library is used: it runs on the machine's Python before anything is installed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import TailraceError
from harness.parcel.manifest import Manifest, fetch, read_manifest, sum_of
from harness.parcel.source import Source, cache_folder, remember

ROOT = Path(__file__).resolve().parents[2]
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_PTH = "tailrace_machine.pth"


@dataclass(frozen=True)
class Wanted:
    """Where the parcel lies, which environment is made, and whether it sees what this Python has installed."""

    parcel: Path
    venv: Path
    system_packages: bool


def unpack(wanted: Wanted, say: Callable[[str], None]) -> None:
    """Brings wheels and models into the cache, makes the environment with tailrace in it, and remembers that packages
    come from there. Raises TailraceError."""
    if Path(sys.prefix).resolve() == wanted.venv.resolve():
        raise TailraceError(f"{sys.executable}: is of the environment that is to be made",
                            "run this with the machine's own Python")
    if wanted.venv.exists() and not (wanted.venv / "pyvenv.cfg").is_file():
        raise TailraceError(f"{wanted.venv}: is there and is no environment", "name another folder with --venv")
    manifest, here = read_manifest(wanted.parcel), ".".join(map(str, sys.version_info[:2]))
    if manifest.python != here:
        raise TailraceError(f"{wanted.parcel}: is packed for Python {manifest.python}, and this is {here}",
                            f"pack again with --python {here}, or run this with python{manifest.python}")
    wheels = cache_folder() / "wheels"
    say(f"bringing {len(manifest.items)} files into {cache_folder()}")
    fetch(wanted.parcel, manifest, cache_folder())
    with tempfile.TemporaryDirectory(prefix="tailrace-") as scratch:
        say(f"making {wanted.venv}")
        _make(wanted, manifest, wheels, Path(scratch))
    remember(Source((str(wheels),), True, sys.executable if wanted.system_packages else ""))


def _make(wanted: Wanted, manifest: Manifest, wheels: Path, scratch: Path) -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    sums = {item.sha256: wheels / Path(item.path).name for item in manifest.items if item.path.startswith("wheels/")}
    entries = {entry.split()[0]: entry for lock in locks for entry in re.split(r"\n(?=\S)", lock.read_text("utf-8"))
               if set(_HASH.findall(entry)) & set(sums)}
    uv, lock, python = scratch / "uv", scratch / "lock.txt", wanted.venv / "bin" / "python"
    _bring_uv(entries, sums, uv)
    lock.write_text("\n".join(entries.values()), "utf-8")
    offline = ["--offline", "--no-index", "--no-deps", "--python", str(python)]
    _run(uv, "venv", "--clear", "--no-project", "--python", sys.executable, str(wanted.venv))
    _run(uv, "pip", "install", *offline, "--only-binary", ":all:", "--require-hashes", "--find-links", str(wheels),
         "-r", str(lock))
    if wanted.system_packages:
        [site] = wanted.venv.glob("lib/python*/site-packages")
        folders = [each for each in sys.path if each.rstrip("/").endswith(("site-packages", "dist-packages"))]
        (site / _PTH).write_text("".join(f"import site; site.addsitedir({each!r})\n" for each in folders), "utf-8")
    _run(uv, "pip", "install", *offline, "--no-build-isolation", "--editable", str(ROOT))
    _run(python, "-m", "harness.run.whole", str(ROOT / "requirements" / "harness.txt"))


def _bring_uv(entries: dict[str, str], sums: dict[str, Path], target: Path) -> None:
    """uv's own program, out of the wheel that the lock names."""
    [entry] = [text for name, text in entries.items() if name.startswith("uv==")] or [""]
    wheel = next((sums[each] for each in _HASH.findall(entry) if each in sums), None)
    if wheel is None:
        raise TailraceError(f"the parcel has no wheel of uv that {ROOT.name}/requirements names",
                            "pack it from the same checkout as this one")
    if sum_of(wheel) not in entry:
        raise TailraceError(f"{wheel}: is not what was packed", "remove it and unpack again")
    with zipfile.ZipFile(wheel) as archive:
        [member] = [name for name in archive.namelist() if name.endswith(".data/scripts/uv")]
        with archive.open(member) as program, target.open("wb") as file:
            shutil.copyfileobj(program, file)
    target.chmod(0o755)


def _run(program: Path, *arguments: str) -> None:
    """Raises TailraceError with the program's last words when it fails."""
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "UV_FIND_LINKS", "PIP_FIND_LINKS")
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    quiet = [] if program.name == "python" else ["--quiet", "--no-config"]
    done = subprocess.run([program, *quiet, *arguments], cwd=ROOT, env=variables, stdin=subprocess.DEVNULL,
                          stdout=None if program.name == "python" else subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode:
        words = done.stderr if program.name == "uv" else done.stderr.strip().rpartition("\n")[2]
        words = " ".join(words.replace("╰─▶", " ").replace("×", " ").replace("│", " ").split())
        raise TailraceError(words.removeprefix("tailrace: ").removeprefix("error: ").rstrip(".")
                            or f"{program.name} ended with {done.returncode}",
                            "pack the parcel again, from this checkout and with this machine's packages as --present")
