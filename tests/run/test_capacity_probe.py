"""A probe of a capacity search, sent to a real server."""

from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog
from harness.cli.capacity import Asked, first_attempt, probing
from harness.decide.capacity import Probe
from harness.decide.capacity_probe import believed
from harness.record.read import open_run
from harness.run.bench import Bench
from harness.run.race import race

pytestmark = pytest.mark.live

TOYS = Path(__file__).parents[1] / "toys"


def test_a_probe_is_sent_as_asked_and_read_back(bench: Bench, watcher: Any) -> None:
    asked = Asked("calm", "echo", [], None, {}, 3, 2.0, None)
    first = first_attempt(Catalog(TOYS), bench, asked, {"p(99)": "< 500ms"})
    probes = [Probe("load", 60.0, 1.5, 5), Probe("burst", 90.0, 1.0, 6)]
    load, burst = (open_run(bench.folder / name)
                   for name in race([probing(first, probe) for probe in probes], bench, watcher))
    seen = believed(load, 500.0).seen
    assert (load.meta.load, load.meta.seeds["attempt"]) == (60.0, 5)
    assert 40 < seen.rate < 85
    assert 0 < (~seen.counted).sum() < seen.counted.sum()
    assert seen.told
    assert believed(burst, 500.0).seen.counted.all()
