"""Checking and tuning setups as a person meets it."""

import json
from pathlib import Path

import pytest

from tests.cli.test_commands import TOYS, here, tailrace


def test_a_setup_without_a_tune_table_cannot_be_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert here(monkeypatch, "tune", "calm", "--workload", "echo", "--scenario", "brief", "--results", str(tmp_path),
                root=TOYS) == 2
    assert "setup calm declares no knobs to search; add a [tune] table to " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("flags", "said"), [
    (["--knob", "fastapi.workers=1"], "--knob fastapi.…: only granian is tuned"),
    (["--knob", "granian.workers=1", "--knob", "granian.threads=1"],
     "setup granian: nothing is left to search; pin fewer knobs"),
    (["--knob", "granian.workrs=1"], "setup granian has no knob 'workrs'; did you mean 'workers'?")])
def test_what_cannot_be_pinned_is_one_sentence(tmp_path: Path, flags: list[str], said: str,
                                               monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    code = here(monkeypatch, "tune", "granian", "--workload", "fraud", *flags, "--results", str(tmp_path))
    told = capsys.readouterr().err
    assert code in (2, 104), told
    assert said in " ".join(told.split())


def test_the_ladder_can_be_shown_with_profiles_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert here(monkeypatch, "run", "ladder", "--workload", "fraud", "-n", "1", "--tuned", "--dry-run",
                "--results", str(tmp_path)) == 0
    told = capsys.readouterr().out
    assert "flask on fraud: no profile, so its defaults race" in told
    assert "flask × fraud × fraud-steady r1" in told


@pytest.mark.live
def test_a_check_is_shown_and_kept(tmp_path: Path) -> None:
    done = tailrace("check", "calm", "lies", "--workload", "echo", "--results", str(tmp_path), "--json", root=TOYS)
    assert done.returncode == 99, done.stderr
    calm, lies = json.loads(done.stdout)
    assert {point["code"] for point in calm["points"] if point["verdict"] == "failed"} == {"overload"}
    assert [point["code"] for point in lies["points"]] == ["ready"]
    kept = sorted(path.name for path in tmp_path.glob("*/conformance/*"))
    assert kept == ["calm-echo.answers.json", "calm-echo.json", "lies-echo.json"]
    refused = tailrace("check", "calm", "--workload", "echo", "--knob", "lies.workers=2", root=TOYS)
    assert refused.returncode == 2
    assert "--knob lies.…: that setup is not checked" in refused.stderr
    again = tailrace("check", "calm", "--workload", "echo", "--results", str(tmp_path), root=TOYS)
    assert again.returncode == 99
    assert "300 requests at once all waited" in again.stdout
