"""The command as a person meets it: exit codes, one sentence per mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from harness.cli import RESUMABLE, main
from harness.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
TOYS = ROOT / "tests" / "toys"
LOCUSTFILE = Path(__file__).with_name("locust") / "search.py"


def tailrace(*arguments: str, root: Path = ROOT, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=cwd, capture_output=True, text=True,
                          env={**os.environ, "TAILRACE_ROOT": str(root), "PYTHONPATH": str(ROOT)}, check=False)


def here(monkeypatch: pytest.MonkeyPatch, *arguments: str, root: Path = ROOT) -> int:
    """The exit code of the command, run in this process, which has imported everything already."""
    monkeypatch.setattr(sys, "argv", ["tailrace", *arguments])
    monkeypatch.setenv("TAILRACE_ROOT", str(root))
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.parametrize(("arguments", "code", "expected"), [
    (["run", "rcae"], 2, "tailrace: unknown plan 'rcae'; did you mean 'race'?"),
    (["run"], 2, "tailrace: nothing to run: name a plan, or a --workload"),
    (["run", "--workload", "embd"], 2, "tailrace: unknown workload 'embd'; did you mean 'embed'?"),
    (["run", "race", "--setup", "flsk"], 2, "tailrace: plan race does not race setup 'flsk'; did you mean 'flask'?"),
    (["run", "--workload", "embed", "--scenario", "none.toml"], 104, "tailrace: none.toml: no such file"),
    (["run", "--workload", "embed", "--knob", "workers=2"], 2, "write SETUP.KNOB=VALUE"),
    (["run", "--workload", "embed", "-n", "0"], 104, "'repetitions' is 0"),
    (["check", "flsk"], 2, "tailrace: unknown setup 'flsk'; did you mean 'flask'?"),
    (["report", "no-such-folder"], 104, "no-such-folder: no such folder"),
    (["compare", "docs"], 104, "docs: no finished run here"),
    (["verify", "no-such-run"], 2, "tailrace: no-such-run: no such run below results"),
])
def test_a_mistake_gets_one_sentence_and_its_code(arguments: list[str], code: int, expected: str,
                                                  monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert here(monkeypatch, *arguments) == code
    said = capsys.readouterr()
    assert expected in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not said.out


def test_a_mistake_leaves_its_process_without_a_traceback() -> None:
    done = tailrace("check", "flsk")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tailrace: unknown setup 'flsk'")


def test_help_loads_nothing_heavy() -> None:
    script = ("import sys\nfrom harness.cli import main\nsys.argv = ['tailrace', '--help']\n"
              "try:\n    main()\nexcept SystemExit:\n    print('loaded', *sys.modules)\n")
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & {"pandas", "numpy", "scipy", "numba", "matplotlib", "locust", "gevent", "pyarrow", "pydantic",
                         "rich"}


def test_an_interrupted_command_speaks_of_resume_where_it_can() -> None:
    commands: Any = get_command(app)
    assert set(RESUMABLE) == {name for name, command in commands.commands.items()
                              if any("--resume" in option.opts for option in command.params)}


def test_list_names_what_lies_in_the_tree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert here(monkeypatch, "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    folders = sorted(path.parent.name for path in ROOT.glob("setups/*/setup.toml"))
    assert [each["name"] for each in listed["setups"]] == folders
    assert {each["name"] for each in listed["plans"]} >= {"race"}


def test_a_dry_run_shows_every_run_and_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    assert here(monkeypatch, "run", "race", "--dry-run", "--results", str(tmp_path / "results")) == 0
    *runs, lasting = capsys.readouterr().out.splitlines()
    assert len(runs) == 60
    assert lasting.startswith("60 runs, 2.5 minutes of load;")
    assert not (tmp_path / "results").exists()


@pytest.mark.live
def test_a_race_of_toys_from_run_to_report(tmp_path: Path) -> None:
    """The whole way with a server that needs no packages: run, resume, compare, report, verify, gate."""
    results, out = tmp_path / "results", tmp_path / "report"
    asked = ["run", "--workload", "echo", "--setup", "calm", "--scenario", "brief", "-n", "2",
             "--results", str(results)]
    done = tailrace(*asked, root=TOYS)
    assert done.returncode == 0, done.stderr
    runs = sorted(results.glob("*/*/run.json"))
    assert len(runs) == 2
    again = tailrace(*asked, "--resume", root=TOYS)
    assert again.returncode == 0, again.stderr
    assert sorted(results.glob("*/*/run.json")) == runs
    assert tailrace("verify", str(runs[0].parent)).returncode == 0
    assert "whole and unaltered" in tailrace("verify", runs[0].parent.name, "--results", str(results)).stdout
    (runs[0].parent / "server.log").write_text("altered")
    assert tailrace("verify", str(runs[0].parent)).returncode == 111
    assert tailrace("report", str(results), "--out", str(out)).returncode == 0
    assert {path.name for path in out.iterdir()} == {"notebook.ipynb", "report.html", "report.md", "summary.json",
                                                     "junit.xml"}
    assert json.loads((out / "summary.json").read_text())["cells"][0]["setup"] == "calm"


@pytest.mark.live
def test_a_users_own_locustfile_runs_unchanged(tmp_path: Path) -> None:
    done = tailrace("run", "--workload", "embed", "--setup", "fastapi", "-n", "1", "--locustfile", str(LOCUSTFILE),
                    "--users", "2", "--duration", "2", "--results", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    cell = json.loads(done.stdout)["cells"][0]
    assert cell["closed_loop"] is True
    assert cell["runs"][0]["n"] > 50
    assert cell["error_rate"] == 0
