"""Texts like search queries and sentences, composed from a small grammar, and how an answer is judged.

Lengths follow a lognormal law, as query and sentence lengths do: median about 14 tokens and 99th percentile about 64,
both with the two special tokens. Profile `long` is about 128 tokens. No corpus is needed or quoted.
"""

import functools
import json
import random
from collections.abc import Iterator
from typing import Any

import model as served
import numpy as np

MEDIAN_TOKENS, SIGMA = 14.0, 0.653     # ln(64 / 14) / 2.326, for the 99th percentile
MAX_TOKENS, LONG_TOKENS, SPECIAL_TOKENS = 160, 128, 2
QUERY_TOKENS = 12                      # shorter texts are queries: no article, no full stop
# What rounding, batching and another engine's arithmetic may change; another text of this stream is farther than 0.01.
MAX_COSINE_DISTANCE = 1e-3


def _words(text: str) -> list[str]:
    return text.split()


_ADJECTIVES = _words("""affordable
ancient automatic best bright broken busy cheap classic cold compact complete cotton daily
deep digital early easy electric empty familiar fast fresh frozen gentle golden green heavy hidden honest hot huge
independent large late light local lonely long modern narrow natural new noisy northern old open organic patient
portable private public quick quiet rare reliable remote rural safe second senior sharp short silent simple small
smart soft solar southern steady strong sweet thin urban useful warm waterproof wide wild wireless wooden young""")
_NOUNS = _words("""account
airport apartment apple artist bakery bank battery beach bicycle boat book bottle bridge budget
camera car castle chair cheese child city coast coat coffee college company computer concert contract country cup
dentist desk doctor dog door engine factory farm festival field film fire flight forest garden gift glass guitar hair
harbour hotel house insurance island jacket job kitchen knife lake lamp language laptop lawyer lesson library loan
machine market medicine menu mirror mountain museum music neighbour newspaper office oven painting paper park passport
phone photo piano pillow plant plumber printer recipe restaurant river road roof school screen shop shoe sofa soup
spring station storm street student sugar summer table teacher tent theatre ticket tool tower town toy train tree
umbrella vegetable village visa wall watch water wedding wheel window winter wine yoga zoo""")
_VERBS = _words("""carried
cleaned closed copied counted covered delivered described designed discovered dropped finished
followed forgot found fixed guarded heard helped hid imagined improved kept learned left lost loved measured mentioned
moved needed noticed offered opened ordered owned painted passed photographed picked planned prepared promised pulled
pushed reached recommended remembered repaired replaced returned reviewed saved sold served shared showed studied
tested touched translated visited wanted warned washed watched welcomed wrapped""")
_PREPOSITIONS = _words("above across after against along around before behind beside between near over under with")
_OPENERS = ["how to choose a", "where to buy a", "what is a", "compare", "reviews of the", "how much is a", "repair a",
            "cheap", "best", "near me", "used", "difference between a", "why does a", "when to replace a"]
_LINKS = ["and", "but", "because", "while", "although", "so", "until"]


def payloads(seed: int, profile: str = "default") -> Iterator[tuple[bytes, None]]:
    """Endless bodies; profile `default` or `long`. There is no truth but the model's own answer."""
    if profile not in ("default", "long"):
        raise ValueError(f"unknown profile '{profile}'; known: default, long")
    random_ = random.Random(f"{seed} {profile}")
    while True:
        yield json.dumps({"text": compose(random_, _length(random_, profile))}).encode(), None


def compose(random_: random.Random, tokens: int) -> str:
    """A text of about so many tokens: a query when it is short, else sentences."""
    budget = max(1, tokens - SPECIAL_TOKENS)
    if tokens <= QUERY_TOKENS:
        return " ".join(_query(random_)[:budget])
    words: list[str] = []
    while len(words) < budget:
        words += _sentence(random_)
    return _punctuated([*words[:budget - 1], "."])


def judge(model: served.Model, body: bytes, truth: object, answer: bytes) -> str:
    """"" when the answer is the text's embedding as the model alone computes it, else why it is not."""
    del truth
    return same(answer, {"embedding": _reference(model, body)})


def same(answer: bytes, golden: Any) -> str:
    """"" when both point the same way within MAX_COSINE_DISTANCE, else why not."""
    try:
        given = np.array(json.loads(answer)["embedding"], np.float64)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return f"not an embedding: {error!r}"
    if given.shape != (served.WIDTH,) or not np.isfinite(given).all():
        return f"not {served.WIDTH} finite numbers"
    if abs(np.linalg.norm(given) - 1) > MAX_COSINE_DISTANCE:
        return f"length {np.linalg.norm(given):.4f} instead of 1"
    distance = 1 - float(given @ np.asarray(golden["embedding"]))
    return "" if distance <= MAX_COSINE_DISTANCE else f"cosine distance {distance:.4f} from the right embedding"


@functools.lru_cache(maxsize=65_536)
def _reference(model: served.Model, body: bytes) -> np.ndarray:
    return served.predict(model, [served.decode(body)])[0]


def _length(random_: random.Random, profile: str) -> int:
    if profile == "long":
        return random_.randint(LONG_TOKENS - 8, LONG_TOKENS + 8)
    return min(MAX_TOKENS, max(SPECIAL_TOKENS + 1, round(MEDIAN_TOKENS * random_.lognormvariate(0, SIGMA))))


def _query(random_: random.Random) -> list[str]:
    words = random_.choice(_OPENERS).split() if random_.random() < 0.5 else []
    while len(words) < QUERY_TOKENS:
        words += [random_.choice(_ADJECTIVES), random_.choice(_NOUNS)]
        words += ["for"] if random_.random() < 0.3 else []
    return words


def _sentence(random_: random.Random) -> list[str]:
    words = [*_phrase(random_), random_.choice(_VERBS), *_phrase(random_)]
    while random_.random() < 0.4:
        words += [random_.choice(_PREPOSITIONS), *_phrase(random_)]
    if random_.random() < 0.4:
        words += [",", random_.choice(_LINKS), *_phrase(random_), random_.choice(_VERBS), *_phrase(random_)]
    return [*words, "."]


def _phrase(random_: random.Random) -> list[str]:
    adjective = [random_.choice(_ADJECTIVES)] if random_.random() < 0.6 else []
    return [random_.choice(["the", "a", "every", "that", "our"]), *adjective, random_.choice(_NOUNS)]


def _punctuated(words: list[str]) -> str:
    """Words and marks as a text with capitals; a mark before the full stop that ends it is dropped."""
    if words[-2] in (",", "."):
        del words[-2]
    text, start = "", True
    for word in words:
        text += word if word in (",", ".") else (" " if text else "") + (word.capitalize() if start else word)
        start = word == "."
    return text
