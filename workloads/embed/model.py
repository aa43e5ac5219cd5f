"""all-MiniLM-L6-v2: a text in, 384 numbers of unit length out. Tokenisation is part of serving."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerator.buckets import Buckets, powers_of_two, steps
from accelerator.engine import Engine, open_engine
from accelerator.spec import BATCH, LENGTH, Arrays, Input, Spec
from tokenizers import Tokenizer

CONTENT_TYPE = "application/json"
ANSWER_TYPE = "application/json"
WIDTH = 384
MAX_TOKENS = 256        # the length the model was trained for; longer texts are cut
MAX_CHARACTERS = 20_000
_FORMAT = '{"embedding": [' + ", ".join(["%.6f"] * WIDTH) + "]}"
_INPUT = Input("int64", (BATCH, LENGTH))
# In buckets padding takes its rows of every layer: leaving it out makes shapes that follow from values, which a GPU
# would have to be waited for.
_SPEC = Spec({"input_ids": _INPUT, "attention_mask": _INPUT}, ("embedding",),
             Buckets(powers_of_two(256), steps(16, MAX_TOKENS, 64), warm_cells=256 * 64),
             given={"real": lambda batch, length: np.arange(batch * length),
                    "row_of": lambda batch, length: np.arange(batch * length).reshape(batch, length)})


@dataclass(frozen=True, eq=False)
class Model:
    """What computes, and the tokenizer before it."""

    engine: Engine
    tokenizer: Tokenizer


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model on `cpu`, `gpu` or `torch-cpu`, with `threads` threads. Raises ValueError for a device that is not
    there."""
    return Model(open_engine(Path(directory) / "model.onnx", threads, device, _SPEC), load_host(directory))


def load_host(directory: Path) -> Tokenizer:
    """The tokenizer, which prepares."""
    # The tokenizer would else start a thread per core, outside the thread budget.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def decode(body: bytes) -> str:
    """The text of `{"text": "…"}`. Raises ValueError saying what is wrong with the body."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict) or value.keys() != {"text"}:
        raise ValueError('the body must be an object with the one key "text"')
    text = value["text"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError('"text" must be a string that is not empty')
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f'"text" has {len(text)} characters; at most {MAX_CHARACTERS} are accepted')
    return text


def predict(model: Model, batch: list[str]) -> list[np.ndarray]:
    """float32[384] of unit length for every text."""
    return finish(model.tokenizer, compute(model, prepare(model.tokenizer, batch)))


def prepare(host: Tokenizer, batch: list[str]) -> Arrays:
    """int64 input_ids and attention_mask [batch, length], padded to the longest text, which only attention pays."""
    encoded = host.encode_batch(batch)
    ids = np.array([item.ids for item in encoded], np.int64)
    mask = np.array([item.attention_mask for item in encoded], np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def compute(model: Model, arrays: Arrays) -> Arrays:
    """float32 embedding [batch, 384]."""
    return model.engine.compute(arrays)


def finish(host: Tokenizer, arrays: Arrays) -> list[np.ndarray]:
    """A row for each text."""
    del host
    return list(arrays["embedding"])


def last_times(model: Model) -> dict[str, float]:
    """`copy` and `kernel` milliseconds of this thread's last `compute`; empty on the CPU."""
    return model.engine.last_times()


def encode(answer: np.ndarray) -> bytes:
    """`{"embedding": [384 numbers of six digits]}`."""
    return (_FORMAT % tuple(answer.tolist())).encode()
