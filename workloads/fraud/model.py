"""A boosted-trees score of one card transaction: sixteen named features in, the probability of fraud out."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnxruntime
from transactions import FEATURES

CONTENT_TYPE = "application/json"
ANSWER_TYPE = "application/json"
_LARGEST = 1e9


@dataclass(frozen=True, eq=False)
class Model:
    """One session."""

    session: onnxruntime.InferenceSession


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model, computing with `threads` threads. Raises ValueError for a device that cannot run it."""
    if device != "cpu":
        raise ValueError(f"device '{device}' gains nothing: the trees take microseconds on a CPU core; use 'cpu'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    path = str(Path(directory) / "model.onnx")
    return Model(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


def decode(body: bytes) -> list[float]:
    """The features in the order of FEATURES. Raises ValueError saying what is wrong with the body."""
    try:
        value = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the body must be an object of named features")  # noqa: TRY004  the contract's error
    if value.keys() != FEATURES.keys():
        missing, unknown = sorted(FEATURES.keys() - value.keys()), sorted(value.keys() - FEATURES.keys())
        raise ValueError(f"feature '{missing[0]}' is missing" if missing else f"unknown feature '{unknown[0][:80]}'")
    return [_number(name, value[name], whole) for name, (whole, _) in FEATURES.items()]


def predict(model: Model, batch: list[list[float]]) -> list[float]:
    """The probability of fraud of every transaction."""
    shares = model.session.run(["probabilities"], {"features": np.array(batch, np.float32)})[0]
    return shares[:, 1].tolist()


def encode(answer: float) -> bytes:
    """`{"fraud": 0.012345}`."""
    return b'{"fraud": %.6f}' % answer


def _number(name: str, value: object, whole: bool) -> float:
    # A bool is an int to Python, and not to us.
    if type(value) is int or (type(value) is float and not whole):
        if 0 <= value <= _LARGEST:
            return value
        raise ValueError(f"feature '{name}' must be between 0 and {_LARGEST:g}")
    raise ValueError(f"feature '{name}' must be a {'whole ' if whole else ''}number")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
