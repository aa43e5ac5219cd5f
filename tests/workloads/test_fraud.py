"""The transaction generator's rule and drifts, the model against what can be known at best, and strict bodies."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

Inside = Callable[[str, str], Any]


@pytest.fixture(scope="module")
def world() -> ModuleType:
    """The workload's generator; it needs numpy only."""
    path = Path(__file__).parents[2] / "workloads" / "fraud" / "transactions.py"
    spec = importlib.util.spec_from_file_location("fraud_transactions", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def separation(score: np.ndarray, fraud: np.ndarray) -> float:
    """The area under the ROC curve, by the ranks' sum (Mann and Whitney 1947)."""
    count = int(fraud.sum())
    return float((rankdata(score)[fraud == 1].sum() - count * (count + 1) / 2) / count / (len(fraud) - count))


def test_the_seed_decides(world: ModuleType) -> None:
    one, again, other = (world.transactions(seed, 500) for seed in (1, 1, 2))
    assert np.array_equal(one.features, again.features)
    assert np.array_equal(one.fraud, again.fraud)
    assert not np.array_equal(one.features, other.features)


def test_features_are_documented_quantised_and_exact_in_float32(world: ModuleType) -> None:
    drawn = world.transactions(3, 20_000, world.World(amount_scale=3.0))
    assert drawn.features.dtype == np.float32
    assert drawn.features.shape == (20_000, len(world.FEATURES))
    for (whole, _), column in zip(world.FEATURES.values(), drawn.features.T, strict=True):
        digits = 0 if whole else 2
        assert np.array_equal(column, np.round(column.astype(float), digits).astype(np.float32))
        assert column.min() >= 0
        assert len(np.unique(column)) > 1


def test_labels_follow_the_rule_they_are_drawn_from(world: ModuleType) -> None:
    drawn = world.transactions(4, 100_000)
    assert np.array_equal(drawn.probability, world.fraud_probability(drawn.features))
    for low, high in ((0.0, 0.01), (0.01, 0.1), (0.1, 0.4), (0.4, 1.0)):
        group = (drawn.probability >= low) & (drawn.probability < high)
        expected = drawn.probability[group]
        error = 4 * np.sqrt((expected * (1 - expected)).sum())
        assert abs(drawn.fraud[group].sum() - expected.sum()) < error


@pytest.mark.parametrize(("change", "more_fraud"), [
    ({"log_odds": 0.7}, True), ({"foreign_share": 0.2}, True), ({"amount_scale": 1.5}, True),
    ({"online_share": 0.6}, True), ({"card_testing": 1.0}, False),
])
def test_each_drift_changes_the_world(world: ModuleType, change: dict[str, float], more_fraud: bool) -> None:
    usual = world.transactions(5, 50_000)
    drifted = world.transactions(5, 50_000, world.World(**change))
    assert bool(drifted.probability.mean() > usual.probability.mean() * 1.1) == more_fraud


def test_frauds_become_known_late(world: ModuleType) -> None:
    assert np.median(world.transactions(6, 20_000).label_delay_days) == pytest.approx(21, rel=0.05)
    late = world.transactions(6, 20_000, world.World(label_delay_days=60))
    assert np.median(late.label_delay_days) == pytest.approx(60, rel=0.05)


@pytest.mark.live
def test_the_model_learned_the_rule_and_drift_hurts_it(world: ModuleType, inside: Inside) -> None:
    told = inside("fraud", """
from transactions import World, transactions
usual, drifted = transactions(77, 30_000), transactions(77, 30_000, World(card_testing=1.0))
told = [model.predict(loaded, drawn.features.tolist()) for drawn in (usual, drifted)]
""")
    usual, drifted = world.transactions(77, 30_000), world.transactions(77, 30_000, world.World(card_testing=1.0))
    best = separation(usual.probability, usual.fraud)
    assert separation(np.array(told[0]), usual.fraud) > best - 0.03
    assert np.mean(told[0]) == pytest.approx(usual.fraud.mean(), rel=0.1)
    assert separation(np.array(told[1]), drifted.fraud) < separation(drifted.probability, drifted.fraud) - 0.04


@pytest.mark.live
def test_bodies_are_checked_strictly(inside: Inside) -> None:
    told = inside("fraud", """
good = json.loads(draw(1)[0][0])
def changed(**values):
    return json.dumps({**good, **values}).encode()
missing = {key: value for key, value in good.items() if key != "hour"}
told = {"good": refused(json.dumps(good).encode()), "integer amount": refused(changed(amount_eur=12)),
        "reordered": alone(json.dumps(dict(reversed(good.items()))).encode()) == alone(json.dumps(good).encode()),
        "bad": [refused(body) for body in (b"", b"{", b"[]", b"3", b"\\xff", json.dumps(missing).encode(),
            changed(extra=1), changed(hour="3"), changed(hour=3.5), changed(hour=True), changed(hour=None),
            changed(amount_eur=[1]), changed(amount_eur=-1), changed(amount_eur=1e300),
            changed(amount_eur=float("nan")), changed(amount_eur=float("inf")), b"[" * 100_000)]}
""")
    assert told["good"] is None
    assert told["integer amount"] is None
    assert told["reordered"]
    assert all(isinstance(sentence, str) and sentence for sentence in told["bad"])
    assert told["bad"][5] == "feature 'hour' is missing"
    assert told["bad"][6] == "unknown feature 'extra'"
    assert told["bad"][7] == "feature 'hour' must be a whole number"


def test_golden_scores_span_the_range() -> None:
    path = Path(__file__).parents[2] / "workloads" / "fraud" / "golden.json"
    scores = [item["answer"]["fraud"] for item in json.loads(path.read_text())]
    assert min(scores) < 0.01
    assert max(scores) > 0.7
