"""The seeded network tells images apart, its weights are what they are said to be, and images are bounded."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

Inside = Callable[[str, str], Any]
FOLDER = Path(__file__).parents[2] / "workloads" / "vision"


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    """The workload's weights.py; it needs numpy only."""
    spec = importlib.util.spec_from_file_location("vision_weights", FOLDER / "weights.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_layers_are_those_of_resnet_50(drawing: ModuleType) -> None:
    """25.56 million parameters and 4.09 billion multiplications (torchvision's page of ResNet50_Weights), of which the
    convolutions have all but batch normalisation's 53 120 and the head's 2 049 000."""
    layers = list(drawing.convolutions())
    assert len(layers) == 53
    assert sum(int(np.prod(each.shape)) for each in layers) == 25_557_032 - 53_120 - 2_049_000
    side, work = 112, 0
    for each in layers:
        if each.name == "stage1.0.reduce":
            side = 56      # after the pooling
        inner = side if each.name.endswith(("reduce", "expand")) or each is layers[0] else side // each.stride
        if each.name.endswith("middle"):
            side //= each.stride
        if each.name.endswith("shortcut"):
            inner = side
        work += inner * inner * int(np.prod(each.shape))
    assert work + 2048 * 1000 == pytest.approx(4.09e9, rel=0.01)


def test_weights_are_balanced_and_scaled(drawing: ModuleType) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    drawn = drawing._drawn(random, (64, 32, 3, 3), 2.0)
    assert drawn.dtype == np.float32
    assert np.abs(drawn.sum(axis=(1, 2, 3), dtype=np.float64)).max() < 1e-5
    assert drawn.std() == pytest.approx(2.0 / (32 * 9) ** 0.5, rel=0.02)
    assert not np.array_equal(drawn[0], drawn[1])


def test_golden_answers_differ_and_are_no_near_ties() -> None:
    golden = [item["answer"]["top"] for item in json.loads((FOLDER / "golden.json").read_text())]
    best = [top[0]["class"] for top in golden]
    assert len(set(best)) >= len(best) - 1
    assert all(sum(each["probability"] for each in top) <= 1.00001 for top in golden)
    assert sum(top[0]["probability"] > 0.2 for top in golden) > len(golden) / 2


@pytest.mark.live
def test_images_of_the_stream_are_told_apart(inside: Inside) -> None:
    told = inside("vision", """
items = [model.decode(body) for body, _ in draw(24, seed=9)]
answers = [model.encode(answer) for answer in model.predict(loaded, items)]
parsed = [json.loads(answer) for answer in answers]
told = {"alike": sum(not stream.same(answers[i], parsed[j]) for i in range(24) for j in range(i)),
        "itself": [stream.same(*pair) for pair in zip(answers, parsed)],
        "classes": len({each["top"][0]["class"] for each in parsed}),
        "off": [stream.same(json.dumps({"top": [{**each, "probability": each["probability"] * off}
                for each in parsed[0]["top"]]}).encode(), parsed[0]) for off in (0.9, 0.6, -1, float("nan"))],
        "short": stream.same(json.dumps({"top": parsed[0]["top"][:2]}).encode(), parsed[0])}
""")
    assert told["alike"] <= 1      # of 276 pairs
    assert told["itself"] == [""] * 24
    assert told["classes"] >= 16
    assert told["off"][0] == ""
    assert all(told["off"][1:])
    assert told["short"]


@pytest.mark.live
def test_images_are_read_cut_and_bounded(inside: Inside) -> None:
    told = inside("vision", """
from PIL import Image
good = draw(1)[0][0]
image = Image.open(io.BytesIO(good)).convert("RGB")
wide = Image.new("RGB", (424, 224), "red")
wide.paste(image, (100, 0))
told = {"same": [np.array_equal(model.decode(each), np.asarray(image)) for each in (good, saved(image), saved(wide))],
        "shapes": [model.decode(saved(Image.new(mode, size))).shape for mode, size in
                   (("L", (1, 1)), ("RGBA", (300, 20)), ("P", (20, 900)), ("CMYK", (50, 50))) if mode != "CMYK"]
                  + [model.decode(saved(Image.new("CMYK", (50, 60)), "JPEG")).shape],
        "bad": [refused(body) for body in (b"", b"text", good[:200], good[:8], saved(Image.new("RGB", (5, 5)), "GIF"),
                header(100_000, 100_000), header(0, 10), good + b"0" * 4_200_000)], "good": refused(good)}
""")
    assert told["same"] == [True] * 3
    assert told["shapes"] == [[224, 224, 3]] * 4
    assert all(isinstance(sentence, str) and sentence for sentence in told["bad"])
    assert told["good"] is None
