"""PP-OCRv4 line recognition: a PNG image of one line of text in, the text and how sure the model is out."""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerator.buckets import Buckets, powers_of_two, steps
from accelerator.engine import Engine, open_engine
from accelerator.onnx_file import Node, read_metadata
from accelerator.spec import BATCH, LENGTH, Arrays, Input, Spec
from PIL import Image

CONTENT_TYPE = "image/png"
ANSWER_TYPE = "application/json"
HEIGHT = 48                       # of the model's input
MAX_BYTES = 4 * 1024 * 1024
MAX_PIXELS = 2_000_000            # checked before anything is unpacked
MAX_WIDTH = 1600                  # of the model's input; longer lines are squeezed
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHARES = "softmax_11.tmp_0"      # the model's output: 6625 probabilities for every eight pixels
# Only the best of them is read, and 6 600 numbers fewer come back from a device.
_BEST = (Node("ArgMax", (_SHARES,), ("classes",), {"axis": 2, "keepdims": 0}),
         Node("ReduceMax", (_SHARES,), ("sureness",), {"axes": [2], "keepdims": 0}))


def _best(arrays: Arrays) -> Arrays:
    return {"classes": arrays[_SHARES].argmax(axis=2), "sureness": arrays[_SHARES].max(axis=2)}


_SPEC = Spec({"x": Input("float32", (BATCH, 3, HEIGHT, LENGTH))}, ("classes", "sureness"),
             Buckets(powers_of_two(64), steps(32, MAX_WIDTH, 320), warm_cells=64 * 320), _BEST, _best)


@dataclass(frozen=True, eq=False)
class Model:
    """What computes, and what its output classes mean: a blank, the characters of the model's metadata, a space."""

    engine: Engine
    characters: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """What was read; `confidence` is the mean probability of the characters kept, 0 when there are none."""

    text: str
    confidence: float


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model on `cpu`, `gpu` or `torch-cpu`, with `threads` threads. Raises ValueError for a device that is not
    there."""
    return Model(open_engine(Path(directory) / "model.onnx", threads, device, _SPEC), load_host(directory))


def load_host(directory: Path) -> tuple[str, ...]:
    """The characters, which finishing reads classes with."""
    return ("", *read_metadata(Path(directory) / "model.onnx")["character"].splitlines(), " ")


def decode(body: bytes) -> Image.Image:
    """The image, unpacked, as RGB. Raises ValueError saying what is wrong with the body."""
    if len(body) > MAX_BYTES:
        raise ValueError(f"the image has {len(body)} bytes; at most {MAX_BYTES} are accepted")
    if not body.startswith(_SIGNATURE):
        raise ValueError("the body is not a PNG image")
    try:
        image = Image.open(io.BytesIO(body), formats=["PNG"])
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"the image has {image.width}×{image.height} pixels; at most {MAX_PIXELS} are accepted")
        return image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the PNG image cannot be read: {error}") from None


def predict(model: Model, batch: list[Image.Image]) -> list[Line]:
    """What each line says."""
    return finish(model.characters, compute(model, prepare(model.characters, batch)))


def prepare(host: tuple[str, ...], batch: list[Image.Image]) -> Arrays:
    """float32 x [batch, 3, 48, width]: a batch is padded to its widest line, on the right, as PaddleOCR does."""
    del host
    widths = [min(MAX_WIDTH, max(1, math.ceil(HEIGHT * image.width / image.height))) for image in batch]
    pixels = np.zeros((len(batch), 3, HEIGHT, max(widths)), np.float32)
    for row, (image, width) in enumerate(zip(batch, widths, strict=True)):
        scaled = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float32)
        # The published model was trained on OpenCV's channel order: blue, green, red.
        pixels[row, :, :, :width] = scaled[:, :, ::-1].transpose(2, 0, 1) / 127.5 - 1
    return {"x": pixels}


def compute(model: Model, arrays: Arrays) -> Arrays:
    """int64 classes and float32 sureness, [batch, width / 8]."""
    return model.engine.compute(arrays)


def finish(host: tuple[str, ...], arrays: Arrays) -> list[Line]:
    """The line that each row's classes spell."""
    return [_read(host, *pair) for pair in zip(arrays["classes"], arrays["sureness"], strict=True)]


def last_times(model: Model) -> dict[str, float]:
    """`copy` and `kernel` milliseconds of this thread's last `compute`; empty on the CPU."""
    return model.engine.last_times()


def encode(answer: Line) -> bytes:
    """`{"text": "…", "confidence": 0.987654}`."""
    return json.dumps({"text": answer.text, "confidence": round(answer.confidence, 6)}, ensure_ascii=False).encode()


def _read(characters: tuple[str, ...], classes: np.ndarray, sureness: np.ndarray) -> Line:
    """Greedy CTC (Graves et al. 2006): repeats are one character, blanks (class 0) part them."""
    kept = classes != 0
    kept[1:] &= classes[1:] != classes[:-1]
    text = "".join(characters[index] for index in classes[kept])
    return Line(text, float(sureness[kept].mean()) if kept.any() else 0.0)
