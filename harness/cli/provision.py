"""The commands that bring in what races need: models, environments, and what another machine needs of them."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.setups import Device

# ruff: noqa: PLC0415

Names = list[str] | None
Wheels = Annotated[list[Path] | None, typer.Option(help="Take packages from this folder; repeatable; remembered.")]
Offline = Annotated[bool, typer.Option("--offline", help="Ask no index, ever; remembered.")]
System = Annotated[str | None, typer.Option(help="Use what that Python (python3, say) has installed; remembered.")]


def prepare(
    workload: Annotated[Names, typer.Argument(help="Workloads; every one when none is named.")] = None,
    setup: Annotated[Names, typer.Option(help="Build these setups' environments only.")] = None,
    device: Device = "cpu",
    wheels: Wheels = None,
    offline: Offline = False,
    system_packages: System = None,
    online: Annotated[bool, typer.Option("--online", help="Forget the three above; ask the index again.")] = False,
) -> None:
    """Make models, payload code and environments ready once; afterwards everything runs offline."""
    from harness.cli import look
    from harness.cli.ask import names
    from harness.cli.sources import choose

    choose(wheels or [], offline, system_packages, online)
    look.prepare(names(workload), names(setup), device)


def pack(
    out: Annotated[Path, typer.Argument(help="The folder to write: part-1, part-2, …")],
    workload: Annotated[Names, typer.Option(help="Workloads whose prepared models go along.")] = None,
    setup: Annotated[Names, typer.Option(help="Setups that will serve them there.")] = None,
    python: Annotated[str, typer.Option(help="That machine's Python.")] = "3.12",
    glibc: Annotated[str, typer.Option(help="Its C library, or an older one.")] = "2.28",
    present: Annotated[Path | None, typer.Option(help="What it has: a `pip list --format=freeze` of there.")] = None,
    part_mib: Annotated[int, typer.Option(min=2, help="Size of a part at most.")] = 64,
    lock: Annotated[list[Path] | None, typer.Option(help="A further lock, requirements/dev.txt for tests.")] = None,
) -> None:
    """Pack what a machine without a registry needs, in parts: wheels by hash from the locks, and prepared models.

    There: `python3 -m harness.parcel OUT --system-packages`, in a checkout (docs/gpu.md).
    """
    from harness.cli import pack as packing
    from harness.cli.ask import names

    packing.pack(packing.Asked(out, names(workload), names(setup), python, glibc, present, part_mib, lock or []))
