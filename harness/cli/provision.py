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
