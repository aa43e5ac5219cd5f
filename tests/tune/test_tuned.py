"""Profiles that a search left, and the races that use them."""

import math
from pathlib import Path

import pytest

from harness.analyse.model import Check
from harness.catalog.discover import find_catalog
from harness.catalog.plan import Plan, Race
from harness.catalog.setup import Knob
from harness.cli.tune import invalid
from harness.cli.tuned import with_profiles
from harness.errors import TailraceError
from harness.record.profiles import Profile, read_profiles, write_profile
from harness.run.bench import this_bench
from harness.run.provenance import nouns

ROOT = Path(__file__).resolve().parents[2]
CATALOG = find_catalog(ROOT)
PROMISE = " and ".join(clause.text for clause in CATALOG.scenario("fraud-steady").promises)


def profile(setup: str = "flask", **changes: object) -> Profile:
    hashes = nouns(CATALOG.setup("flask"), CATALOG.workload("fraud"))
    values = {"setup": setup, "workload": "fraud", "scenario": "fraud-steady", "promise": PROMISE,
              "found_utc": "2026-11-23T12:00:00Z", "knobs": {"workers": 4, "threads": 2}, "hashes": hashes,
              "default_goodput": math.nan, "goodput": 12.5, "ratio": 1.2, "low": 1.1, "high": 1.3, "fresh": 5,
              "runs": 40, "why": "because", **changes}
    return Profile(**values)  # type: ignore[arg-type]


def raced(folder: Path, setup: str, profiles: list[Profile], given: dict[str, Knob] | None = None,
          **plan: object) -> tuple[dict[str, Knob], str]:
    """The knobs with which the setup races fraud-steady where there are those profiles, and what is said of it."""
    bench = this_bench(CATALOG, folder)
    for each in profiles:
        write_profile(bench.folder, each)
    asked = Plan(name="p", title="t", question="q", race=(
        Race(workload="fraud", setups=(setup,), scenario="fraud-steady", knobs={setup: given or {}}),), **plan)
    said: list[str] = []
    [race] = with_profiles(asked, CATALOG, bench, said.append).race
    [line] = said
    return race.knobs[setup], line.removeprefix(f"{setup} on fraud: ")


def test_a_profile_reads_back_as_it_was(tmp_path: Path) -> None:
    path = write_profile(tmp_path, profile(knobs={"fast": True, "wait": 0.5, "mode": "auto", "n": 3},
                                           promise='p(99) < "25ms" ä', high=math.inf))
    [read] = read_profiles(tmp_path, "flask", "fraud")
    assert read.knobs == {"fast": True, "wait": 0.5, "mode": "auto", "n": 3}
    assert read.knobs["fast"] is True
    assert math.isnan(read.default_goodput)
    assert (read.promise, read.high) == ('p(99) < "25ms" ä', math.inf)
    assert read_profiles(tmp_path, "flask", "ocr") == []
    path.write_text("setup = 1")
    with pytest.raises(TailraceError, match=r"flask-fraud-\w+\.toml: cannot be read"):
        read_profiles(tmp_path, "flask", "fraud")


def test_promises_keep_profiles_of_their_own_and_the_newest_of_one_replaces_it(tmp_path: Path) -> None:
    write_profile(tmp_path, profile())
    write_profile(tmp_path, profile(promise="p(99) < 1ms", found_utc="2026-11-24T12:00:00Z"))
    write_profile(tmp_path, profile(ratio=1.4))
    assert [(each.promise, each.ratio) for each in read_profiles(tmp_path, "flask", "fraud")] == [
        ("p(99) < 1ms", 1.2), (PROMISE, 1.4)]


def test_what_fits_is_used_and_said(tmp_path: Path) -> None:
    knobs, said = raced(tmp_path, "flask", [profile()], {"threads": 1})
    assert knobs == {"workers": 4, "threads": 1}
    assert said == (f"tuned, workers = 4; 1.20 times the default's goodput at {PROMISE} "
                    "(95 % interval 1.10 to 1.30, 2026-11-23)")


@pytest.mark.parametrize(("profiles", "given", "why"), [
    ([], {}, "no profile, so its defaults race"),
    ([profile(hashes={})], {}, "tuned with other code, so its defaults race; tune it again"),
    ([profile(promise="p(99) < 1ms")], {}, f"tuned for p(99) < 1ms, not for {PROMISE}, so its defaults race"),
    ([profile(knobs={"precision": "half"})], {"precision": "full"},
     "tuned with another precision than this race gives, so its defaults race")])
def test_what_does_not_fit_is_not_used_and_why_is_said(tmp_path: Path, profiles: list[Profile],
                                                       given: dict[str, Knob], why: str) -> None:
    assert raced(tmp_path, "flask", profiles, given) == (given, why)


def test_a_profile_of_another_promise_than_a_flags_is_not_used(tmp_path: Path) -> None:
    assert raced(tmp_path, "flask", [profile()], slo={"p(99)": "< 7ms"}) == (
        {}, f"tuned for {PROMISE}, not for p(99) < 7ms, so its defaults race")


def test_a_run_counts_unless_something_else_than_its_setup_spoilt_it() -> None:
    late = Check("lag", "invalid", "requests went out late", blames="generator")
    wrong = Check("answers", "invalid", "answers were wrong", blames="setup")
    assert invalid([Check("rate", "warning", "a little off", blames="host"), wrong]) == ""
    assert invalid([wrong, late]) == "requests went out late"


def test_a_gateway_is_tuned_in_front_of_one_engine(tmp_path: Path) -> None:
    gateway = CATALOG.setup("gateway")
    front = gateway.with_knobs({**gateway.knobs, "engine": "litserve"})
    tuned = profile("gateway", behind="litserve", knobs={"engine": "litserve", "queue": 64},
                    hashes=nouns(front, CATALOG.workload("fraud")))
    assert raced(tmp_path, "gateway", [tuned])[1] == (
        "tuned in front of litserve, not of fastapi, so its defaults race")
    assert raced(tmp_path, "gateway", [tuned], {"engine": "litserve"})[0] == {"engine": "litserve", "queue": 64}
