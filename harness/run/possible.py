"""Whether a setup can serve a workload here, and if not, why."""

from pathlib import Path

from harness.catalog.device import why_not_on
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.run.machine import lacking


def why_not(setup: Setup, workload: Workload, device: str, folder: Path) -> str:
    """What speaks against it, in a sentence: a limit of the setup or of the one behind it, a knob only the user can
    give, a device that setup or workload do not know, something this machine lacks; "" when nothing. `folder` lies on
    the disk that would be used."""
    if said := setup.unnamed:
        return said
    for part in setup.parts:
        if limit := part.limits.get(workload.name):
            return f"{part.name} cannot serve {workload.name}: {limit}"
        if said := why_not_on(device, workload.name, workload.devices, part.name, part.devices):
            return said
        needs = part.needed.model_dump()
        if lacks := lacking({**needs, "gpu": needs["gpu"] or device == "gpu"}, folder):
            return lacks
    return ""
