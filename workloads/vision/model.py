"""ResNet-50 v1.5 with seeded weights: a PNG or JPEG image in, the five likeliest of 1000 classes out."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerator.buckets import Buckets, powers_of_two
from accelerator.engine import Engine, open_engine
from accelerator.spec import BATCH, Arrays, Input, Spec
from PIL import Image

CONTENT_TYPE = "image/jpeg"        # PNG is read as well
ANSWER_TYPE = "application/json"
SIZE = 224
MAX_BYTES = 4 * 1024 * 1024
MAX_PIXELS = 2_000_000             # checked before anything is unpacked
_SPEC = Spec({"pixels": Input("uint8", (BATCH, SIZE, SIZE, 3))}, ("probabilities", "classes"),
             Buckets(powers_of_two(64)))


@dataclass(frozen=True, eq=False)
class Model:
    """What computes."""

    engine: Engine


@dataclass(frozen=True)
class Best:
    """The five likeliest classes, the likeliest first, and their probabilities."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


def load(directory: Path, threads: int, device: str = "cpu") -> Model:
    """The model on `cpu`, `gpu` or `torch-cpu`, with `threads` threads. Raises ValueError for a device that is not
    there."""
    return Model(open_engine(Path(directory) / "model.onnx", threads, device, _SPEC))


def load_host(directory: Path) -> None:
    """Nothing: preparing and finishing need no file."""
    del directory


def decode(body: bytes) -> np.ndarray:
    """uint8 [224, 224, 3]; an image of another size is scaled to 224 on its shorter side and cut around its middle.
    Raises ValueError saying what is wrong with the body."""
    if len(body) > MAX_BYTES:
        raise ValueError(f"the image has {len(body)} bytes; at most {MAX_BYTES} are accepted")
    try:
        image = Image.open(io.BytesIO(body), formats=["PNG", "JPEG"])
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"the image has {image.width}×{image.height} pixels; at most {MAX_PIXELS} are accepted")
        image = image.convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the body is no PNG or JPEG image that can be read: {str(error)[:200]}") from None
    return np.asarray(image if image.size == (SIZE, SIZE) else _cut(image))


def predict(model: Model, batch: list[np.ndarray]) -> list[Best]:
    """The five likeliest classes of each image."""
    return finish(None, compute(model, prepare(None, batch)))


def prepare(host: None, batch: list[np.ndarray]) -> Arrays:
    """uint8 pixels [batch, 224, 224, 3]; the model normalises them itself."""
    del host
    return {"pixels": np.stack(batch)}


def compute(model: Model, arrays: Arrays) -> Arrays:
    """float32 probabilities and int64 classes, [batch, 5]."""
    return model.engine.compute(arrays)


def finish(host: None, arrays: Arrays) -> list[Best]:
    """A row for each image."""
    del host
    return [Best(tuple(classes), tuple(probabilities)) for classes, probabilities in
            zip(arrays["classes"].tolist(), arrays["probabilities"].tolist(), strict=True)]


def last_times(model: Model) -> dict[str, float]:
    """`copy` and `kernel` milliseconds of this thread's last `compute`; empty on the CPU."""
    return model.engine.last_times()


def encode(answer: Best) -> bytes:
    """`{"top": [{"class": 17, "probability": 0.687654}, …]}`, five of them."""
    pairs = zip(answer.classes, answer.probabilities, strict=True)
    return json.dumps({"top": [{"class": each, "probability": round(share, 6)} for each, share in pairs]}).encode()


def _cut(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
