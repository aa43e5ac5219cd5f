"""all-MiniLM-L6-v2: a text in, 384 numbers of unit length out. Tokenisation is part of serving."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

CONTENT_TYPE = "application/json"
ANSWER_TYPE = "application/json"
WIDTH = 384
MAX_TOKENS = 256        # the length the model was trained for; longer texts are cut
MAX_CHARACTERS = 20_000
_FORMAT = '{"embedding": [' + ", ".join(["%.6f"] * WIDTH) + "]}"


@dataclass(frozen=True, eq=False)
class Model:
    """One session and its tokenizer."""

    session: onnxruntime.InferenceSession
    tokenizer: Tokenizer


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model, computing with `threads` threads. Raises ValueError for a device that is not there."""
    # The tokenizer would else start a thread per core, outside the thread budget.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding()
    return Model(_session(Path(directory) / "model.onnx", threads, device), tokenizer)


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
    """float32[384] of unit length for every text; a batch is padded to its longest text, which only attention pays."""
    encoded = model.tokenizer.encode_batch(batch)
    ids = np.array([item.ids for item in encoded], np.int64)
    mask = np.array([item.attention_mask for item in encoded], np.int64)
    return list(model.session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0])


def encode(answer: np.ndarray) -> bytes:
    """`{"embedding": [384 numbers of six digits]}`."""
    return (_FORMAT % tuple(answer.tolist())).encode()


def _session(path: Path, threads: int, device: str) -> onnxruntime.InferenceSession:
    providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    if providers.get(device) not in onnxruntime.get_available_providers():
        raise ValueError(f"device '{device}' is not available to this onnxruntime; use 'cpu'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(str(path), options, providers=[providers[device]])
