"""Rendered lines are read within the stated error rate, another line's text is not, and images are bounded."""

from collections.abc import Callable
from typing import Any

import pytest

Inside = Callable[[str, str], Any]
pytestmark = pytest.mark.live


def test_the_model_reads_the_stream_within_the_tolerance(inside: Inside) -> None:
    told = inside("ocr", """
drawn = draw(120, seed=11)
rates = [stream.error_rate(json.loads(alone(body))["text"], truth) for body, truth in drawn]
told = {"rates": rates, "tolerance": stream.MAX_ERROR_RATE,
        "others": [stream.error_rate(one, other) for (_, one), (_, other) in zip(drawn, drawn[1:])]}
""")
    assert max(told["rates"]) <= told["tolerance"]
    assert sum(told["rates"]) / 120 < 0.01
    assert sum(rate <= told["tolerance"] for rate in told["others"]) <= 1


def test_error_rates(inside: Inside) -> None:
    pairs = [("kitten", "kitten"), ("k itten", "kitt en"), ("sitting", "kitten"), ("", "abcd"), ("abcdefgh", "abcd")]
    told = inside("ocr", f"told = [stream.error_rate(one, other) for one, other in {pairs!r}]")
    assert told == [0, 0, 3 / 6, 1, 1]


def test_padding_to_a_wider_line_does_not_change_the_text(inside: Inside) -> None:
    told = inside("ocr", """
drawn = sorted(draw(8, seed=3), key=lambda pair: len(pair[1]))
items = [model.decode(body) for body, _ in drawn]
told = [[model.predict(loaded, [items[0]])[0].text, model.predict(loaded, [items[0], items[-1]])[0].text],
        items[0].width, items[-1].width]
""")
    assert told[0][0] == told[0][1] != ""
    assert told[1] < told[2] / 2


def test_bad_images_are_refused_in_a_sentence(inside: Inside) -> None:
    told = inside("ocr", """
from PIL import Image
good = draw(1)[0][0]
told = [refused(body) for body in (b"", b"text", good[:200], good[:8], saved(Image.new("RGB", (50, 20)), "JPEG"),
    saved(Image.new("L", (2000, 1001))), header(100_000, 100_000), header(0, 10), good + b"0" * 4_200_000,
    good[:60] + b"?" * 40 + good[100:])]
""")
    assert all(isinstance(sentence, str) and sentence for sentence in told)


def test_every_kind_of_png_is_read(inside: Inside) -> None:
    told = inside("ocr", """
import io
from PIL import Image
image = model.decode(draw(1)[0][0])
told = []
for mode in ("RGB", "L", "1", "P", "RGBA", "LA", "I;16"):
    buffer = io.BytesIO()
    image.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, "PNG")
    answer = json.loads(alone(buffer.getvalue()))
    told.append(stream.error_rate(answer["text"], draw(1)[0][1]) if mode != "I;16" else 0.0)
tiny, narrow = Image.new("RGB", (1, 1)), Image.new("RGB", (20_000, 8), "white")
told += [len(model.predict(loaded, [tiny, narrow]))]
""")
    assert max(told[:-1]) <= 0.25
    assert told[-1] == 2
