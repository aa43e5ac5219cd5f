"""The model repository that the container is given: the workload's prepared model, and what Triton must know of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TYPES = {"float": "TYPE_FP32", "double": "TYPE_FP64", "int64": "TYPE_INT64", "int32": "TYPE_INT32",
         "uint8": "TYPE_UINT8"}

CONFIG = """
backend: "onnxruntime"
max_batch_size: {max_batch}
input [{inputs}]
output [{outputs}]
instance_group [{{ count: {instances}, kind: KIND_CPU }}]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
parameters {{ key: "intra_op_thread_count" value: {{ string_value: "{threads}" }} }}
parameters {{ key: "inter_op_thread_count" value: {{ string_value: "1" }} }}
"""


class Tensor(NamedTuple):
    """An input or output: ONNX Runtime's words for its type and shape, the batch first."""

    name: str
    type: str
    shape: Sequence[object]


def write(folder: Path, model: Path, told: Mapping[str, str]) -> None:
    """A repository in `folder` whose `model` still lacks the files of version 1, which are mounted there. `told` is the
    server's environment."""
    import onnxruntime  # noqa: PLC0415  `config` needs none

    (folder / "model" / "1").mkdir(parents=True)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (folder / "model" / "config.pbtxt").write_text(config(
        [Tensor(each.name, each.type, each.shape) for each in session.get_inputs()],
        [Tensor(each.name, each.type, each.shape) for each in session.get_outputs()], told), "utf-8")


def config(inputs: Sequence[Tensor], outputs: Sequence[Tensor], told: Mapping[str, str]) -> str:
    """config.pbtxt. An output whose first axis is a number, and so cannot be the batch's, is left out."""
    batched = [each for each in outputs if not isinstance(each.shape[0], int)]
    return CONFIG.format(
        inputs=", ".join(map(_tensor, inputs)), outputs=", ".join(map(_tensor, batched)),
        max_batch=int(told["KNOB_MAX_BATCH"]), instances=int(told["KNOB_INSTANCES"]), threads=int(told["THREADS"]),
        delay_us=round(float(told["KNOB_MAX_DELAY_MS"]) * 1e3))


def _tensor(each: Tensor) -> str:
    dims = ", ".join(str(axis if isinstance(axis, int) else -1) for axis in each.shape[1:])
    return f'{{ name: "{each.name}", data_type: {TYPES[each.type[7:-1]]}, dims: [ {dims} ] }}'
