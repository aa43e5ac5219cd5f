"""PP-OCRv4 line recognition: a PNG image of one line of text in, the text and how sure the model is out."""

import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

CONTENT_TYPE = "image/png"
ANSWER_TYPE = "application/json"
HEIGHT = 48                       # of the model's input
MAX_BYTES = 4 * 1024 * 1024
MAX_PIXELS = 2_000_000            # checked before anything is unpacked
MAX_WIDTH = 1600                  # of the model's input; longer lines are squeezed
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Model:
    """One session and what its output classes mean: a blank, the characters of the model's metadata, a space."""

    session: onnxruntime.InferenceSession
    characters: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """What was read; `confidence` is the mean probability of the characters kept, 0 when there are none."""

    text: str
    confidence: float


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model, computing with `threads` threads. Raises ValueError for a device that is not there."""
    session = _session(Path(directory) / "model.onnx", threads, device)
    table = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    return Model(session, ("", *table, " "))


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
    """What each line says; a batch is padded to its widest line, on the right, as PaddleOCR does."""
    widths = [min(MAX_WIDTH, max(1, math.ceil(HEIGHT * image.width / image.height))) for image in batch]
    pixels = np.zeros((len(batch), 3, HEIGHT, max(widths)), np.float32)
    for row, (image, width) in enumerate(zip(batch, widths, strict=True)):
        scaled = np.asarray(image.resize((width, HEIGHT), Image.Resampling.BILINEAR), np.float32)
        # The published model was trained on OpenCV's channel order: blue, green, red.
        pixels[row, :, :, :width] = scaled[:, :, ::-1].transpose(2, 0, 1) / 127.5 - 1
    shares = model.session.run(None, {model.session.get_inputs()[0].name: pixels})[0]
    classes, sureness = shares.argmax(axis=2), shares.max(axis=2)
    return [_read(model.characters, *pair) for pair in zip(classes, sureness, strict=True)]


def encode(answer: Line) -> bytes:
    """`{"text": "…", "confidence": 0.987654}`."""
    return json.dumps({"text": answer.text, "confidence": round(answer.confidence, 6)}, ensure_ascii=False).encode()


def _read(characters: tuple[str, ...], classes: np.ndarray, sureness: np.ndarray) -> Line:
    """Greedy CTC (Graves et al. 2006): repeats are one character, blanks (class 0) part them."""
    kept = classes != 0
    kept[1:] &= classes[1:] != classes[:-1]
    text = "".join(characters[index] for index in classes[kept])
    return Line(text, float(sureness[kept].mean()) if kept.any() else 0.0)


def _session(path: Path, threads: int, device: str) -> onnxruntime.InferenceSession:
    providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    if providers.get(device) not in onnxruntime.get_available_providers():
        raise ValueError(f"device '{device}' is not available to this onnxruntime; use 'cpu'")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(str(path), options, providers=[providers[device]])
