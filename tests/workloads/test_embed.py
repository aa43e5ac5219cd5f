"""Lengths of the texts, what is cut, what is refused. That the numbers are PyTorch's is proved by golden.json."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Inside = Callable[[str, str], Any]
pytestmark = pytest.mark.live

LENGTHS = """
loaded.tokenizer.no_padding()
told = [len(loaded.tokenizer.encode(json.loads(body)["text"]).ids) for body, _ in draw(4000, profile=%r)]
"""


def test_lengths_are_those_of_queries_and_sentences(inside: Inside) -> None:
    lengths = inside("embed", LENGTHS % "default")
    assert np.median(lengths) == pytest.approx(14, abs=1)
    assert np.percentile(lengths, 99) == pytest.approx(64, abs=6)
    assert min(lengths) >= 3
    assert max(lengths) <= 180


def test_long_texts_are_about_128_tokens(inside: Inside) -> None:
    lengths = inside("embed", LENGTHS % "long")
    assert np.median(lengths) == pytest.approx(128, abs=2)
    assert min(lengths) >= 115
    assert max(lengths) <= 145


def test_padding_does_not_change_an_embedding(inside: Inside) -> None:
    told = inside("embed", """
texts = ["tea", "a much longer text " * 30]
both, short = model.predict(loaded, texts), model.predict(loaded, texts[:1])
told = [float(abs(both[0] - short[0]).max()), [float(np.linalg.norm(vector)) for vector in both]]
""")
    assert told[0] < 1e-5
    assert told[1] == pytest.approx([1, 1], abs=1e-5)


def test_texts_are_cut_at_256_tokens(inside: Inside) -> None:
    told = inside("embed", """
long = "word " * 254
told = [alone(json.dumps({"text": text}).encode()).decode() for text in (long, long + "unlike the rest", "word " * 100)]
""")
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_meaning_is_in_the_embedding(inside: Inside) -> None:
    told = inside("embed", """
a, b, c = model.predict(loaded, ["how to repair a bicycle", "fixing my bike", "the stock market fell"])
told = [float(a @ b), float(a @ c)]
""")
    assert told[0] > 0.6
    assert told[1] < 0.2


def test_bad_bodies_are_refused_in_a_sentence(inside: Inside) -> None:
    told = inside("embed", """
told = [refused(body) for body in (b"", b"text", b"[]", b"{}", b'{"text": 3}', b'{"text": ""}', b'{"text": "  "}',
    b'{"text": "a", "more": 1}', b'{"text": null}', b"\\xff\\xfe", json.dumps({"text": "a" * 20_001}).encode(),
    b"[" * 100_000)]
told.append(refused(b'{"text": "a"}'))
""")
    assert all(isinstance(sentence, str) and sentence for sentence in told[:-1])
    assert told[-1] is None
