"""What this deployment was told, from the environment, checked once."""

import os
from dataclasses import dataclass
from pathlib import Path

AUTO = 0


@dataclass(frozen=True)
class Settings:
    """Times in seconds. `fronts` is AUTO when the measured cost of the model shall decide.

    `queue` bounds the requests admitted and not yet answered, over all fronts. `gain` is the share of its cost an item
    must save before a bigger batch is built. `owners` processes hold the model and a device, `device_batch` items of
    which are computed at once; with none the workers hold it themselves. `redis_url` empty: the setup starts its own
    broker.
    """

    host: str
    port: int
    workload: Path
    model_dir: Path
    threads: int
    device: str
    cores: int
    workers: int
    fronts: int
    queue: int
    deadline_s: float
    max_batch: int
    max_wait_s: float
    gain: float
    hung_after_s: float
    owners: int
    device_batch: int
    redis_url: str


def from_environment() -> Settings:
    """The settings of this process. Raises ValueError naming the variable that is absent or not a number."""
    cores = int(_number("SERVER_CORES", str(len(os.sched_getaffinity(0)))))
    workers, most = _count("KNOB_WORKERS", cores), int(_number("KNOB_MAX_BATCH", "32"))
    device, owners = os.environ.get("DEVICE", "cpu"), 0
    device_batch = int(_number("KNOB_DEVICE_BATCH", "256"))
    if device != "cpu":
        owners = int(_number("KNOB_OWNERS", "1"))
        if not _in_halves():        # then whoever prepares computes as well
            workers, most, owners = owners, device_batch, 0
    return Settings(
        host=os.environ.get("HOST", "127.0.0.1"), port=int(_number("PORT", "8000")),
        workload=_folder("WORKLOAD"), model_dir=_folder("MODEL_DIR"),
        threads=int(_number("THREADS", "1")), device=device, cores=cores,
        workers=workers, fronts=_count("KNOB_FRONTS", cores),
        queue=int(_number("KNOB_QUEUE", "1024")), deadline_s=_number("KNOB_DEADLINE_MS", "10000") / 1e3,
        max_batch=most, max_wait_s=_number("KNOB_MAX_WAIT_MS", "2", least=0) / 1e3,
        gain=_number("KNOB_GAIN", "0.08", least=0), hung_after_s=_number("KNOB_HUNG_AFTER_MS", "5000") / 1e3,
        owners=owners, device_batch=device_batch,
        redis_url=os.environ.get("KNOB_REDIS_URL", ""))


def _in_halves() -> bool:
    """Whether the workload's predict comes in halves; asked only where there is a device, for it loads the module."""
    import model  # noqa: PLC0415

    from batching.halves import offered  # noqa: PLC0415

    return offered(model)


def _count(name: str, cores: int) -> int:
    value = os.environ.get(name, "auto" if name == "KNOB_FRONTS" else "cores")
    if value == "auto":
        return AUTO
    return cores if value == "cores" else int(_number(name, value))


def _number(name: str, default: str, least: float = 1e-9) -> float:
    text = os.environ.get(name, default)
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name}={text!r} is not a number") from None
    if not value >= least:
        raise ValueError(f"{name}={text} is too small")
    return value


def _folder(name: str) -> Path:
    text = os.environ.get(name, "")
    if not Path(text).is_dir() or not text:
        raise ValueError(f"{name}={text!r} is not a folder")
    return Path(text)
