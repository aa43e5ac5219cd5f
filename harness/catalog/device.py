"""Device: what a model computes on, the CPU or the first GPU."""

from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

from harness.errors import UsageError

Device = Literal["cpu", "gpu"]
DEVICES: tuple[str, ...] = get_args(Device)


def device_of(text: str) -> Device:
    """The device of that name. Raises UsageError for an unknown one."""
    if text not in DEVICES:
        raise UsageError(f"--device {text}: not understood", f"write --device {' or --device '.join(DEVICES)}")
    return cast(Device, text)


def arm(setup: str, device: str) -> str:
    """How a setup on a device is called in comparisons: its name, and the device where that is not the CPU."""
    return setup if device == "cpu" else f"{setup} ({device})"


def setup_of(name: str) -> str:
    """The setup of an arm, whatever device and knobs its name tells."""
    return name.split(" ", maxsplit=1)[0]


def arms(setups: Iterable[str]) -> list[str]:
    """Every name that an arm of the setups can be asked for by: the setup's, and that with its device."""
    return sorted({arm(setup, device) for setup in setups for device in DEVICES})


def why_not_on(device: str, workload: str, known: Sequence[str], setup: str, serves_on: Sequence[str]) -> str:
    """Why that setup cannot serve that workload on the device, from the devices that each declares; "" when it can."""
    if device not in serves_on:
        return f"{setup} does not serve on the {device.upper()} (its setup.toml says devices = {list(serves_on)})"
    if device not in known:
        return f"{workload} gains nothing from the {device.upper()} (its workload.toml says devices = {list(known)})"
    return ""


def parted(name: str) -> tuple[str, Device]:
    """The setup and the device that `arm` put together; what follows the device in a name stays with the setup."""
    for device in DEVICES[1:]:
        setup, found, more = name.partition(f" ({device})")
        if found:
            return setup + more, cast(Device, device)
    return name, "cpu"
