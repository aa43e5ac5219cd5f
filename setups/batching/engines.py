"""What a worker has its items predicted by: the model itself, or the process that owns the device."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import model
from replica.timing import device_ms

from batching.settings import Settings


class Predicted(NamedTuple):
    """Encoded answers in order; how long they waited for a device (s), its copying and computing (ms), and how many
    items were computed at once."""

    bodies: list[bytes]
    rows: int
    waited_s: float = 0.0
    copy_ms: float = 0.0
    kernel_ms: float = 0.0


class Engine(Protocol):
    """Predicts a batch. Raises what the model raises."""

    def answers(self, items: list[Any], alone: bool) -> Predicted:
        """`alone`: not together with other workers' items."""


def engine(settings: Settings, slot: int, alive: Callable[[], None]) -> Engine:
    """The engine of a worker; `alive` is called while it waits for a device."""
    return Halves(settings, slot % settings.owners, alive) if settings.owners else Whole(settings)


class Whole:
    """The model in this process."""

    def __init__(self, settings: Settings) -> None:
        self._model: Any = model.load(settings.model_dir, settings.threads, settings.device)
        self._on_device = settings.device != "cpu"

    def answers(self, items: list[Any], alone: bool) -> Predicted:  # noqa: ARG002 there are no others here
        """Predict and encode."""
        bodies = _encoded(model.predict(self._model, items), items)
        told = device_ms(self._model) if self._on_device else {}
        return Predicted(bodies, len(items), 0.0, told.get("copy", 0.0), told.get("kernel", 0.0))


class Halves:
    """Prepares and finishes here; another process computes."""

    def __init__(self, settings: Settings, owner: int, alive: Callable[[], None]) -> None:
        from batching.device import Device  # noqa: PLC0415 brings numpy, which a workload on a CPU may lack

        self._host: Any = model.load_host(settings.model_dir)
        self._device = Device(owner, alive)

    def answers(self, items: list[Any], alone: bool) -> Predicted:
        """Prepare, have computed, finish and encode. Raises OwnerLostError as Device.compute does."""
        computed = self._device.compute(model.prepare(self._host, items), len(items), alone)
        bodies = _encoded(model.finish(self._host, computed.arrays), items)
        return Predicted(bodies, computed.rows, computed.waited_s, computed.copy_ms, computed.kernel_ms)


def _encoded(answers: list[Any], items: list[Any]) -> list[bytes]:
    if len(answers) != len(items):
        raise RuntimeError(f"predict gave {len(answers)} answers for {len(items)} items")
    return [model.encode(answer) for answer in answers]
