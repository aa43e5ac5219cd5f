"""`tailrace pack`: what another machine needs, downloaded here and written in parts."""

from dataclasses import dataclass
from pathlib import Path

from harness.catalog.discover import cache_folder, find_catalog
from harness.cli.show import screen
from harness.errors import UsageError
from harness.run.pack import Target, groups_of, read_present
from harness.run.pack import pack as pack_parcel
from harness.run.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
_OWN = ("harness.txt", "bootstrap.txt")


@dataclass(frozen=True)
class Asked:
    """What the options say."""

    out: Path
    workloads: list[str]
    setups: list[str]
    python: str
    glibc: str
    present: Path | None
    part_mib: int
    locks: list[Path]


def pack(asked: Asked) -> None:
    """Shows what goes into each part and what does not. Raises TailraceError."""
    found, out = find_catalog(), screen()

    def say(line: str) -> None:
        out.print(f"  {line}", markup=False, highlight=False)

    own = [ROOT / "requirements" / name for name in _OWN]
    if not all(lock.is_file() for lock in own):
        raise UsageError("tailrace does not run from a checkout", "pack from a checkout; there one is needed, too")
    target = Target(asked.python, asked.glibc, read_present(asked.present) if asked.present else {})
    workloads = [found.workload(name) for name in asked.workloads]
    models = [cache_folder() / "workloads" / f"{each.name}-{prepare(each, say, verify=True).hash}"
              for each in workloads]
    environments = [([*own, *asked.locks], ()), *(([each.lock], ()) for each in workloads),
                    *(([each.lock, part.lock], part.displaces) for each in workloads
                      for name in asked.setups for part in found.setup(name).parts)]
    packed = pack_parcel(asked.out, target, groups_of(environments, target), models, asked.part_mib << 20, say)
    if packed.left_out:
        said = [f"{name} {there}" + ("" if there == locked else f" (locked: {locked})")
                for name, (locked, there) in sorted(packed.left_out.items())]
        say(f"left out, the machine has them: {', '.join(said)}")
    for part, size in packed.parts.items():
        out.print(f"{asked.out / part}: {size / 2**20:.1f} MiB", markup=False, highlight=False)
