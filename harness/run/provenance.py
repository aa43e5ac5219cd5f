"""What a run was made of: content hashes, versions, the git state; gathered into run.json's fields."""

import importlib.metadata
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness.catalog.scenario import Scenario
from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.plan.attempt import Attempt
from harness.record.schema import SCHEMA, RunMeta
from harness.record.write import RunWriter
from harness.run.content import hash_paths
from harness.run.environments import machine_packages
from harness.run.upkeep import code_lines, engine_versions, of_parts

if TYPE_CHECKING:
    from harness.run.bench import Bench
    from harness.run.cell import Outcome

_TIMESTAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


def describe(attempt: Attempt, bench: "Bench", writer: RunWriter, outcome: "Outcome") -> RunMeta:
    """run.json of the run that `writer` holds, without the files' sums."""
    setup, workload, scenario = attempt.setup, attempt.workload, attempt.scenario
    folders = [each.folder for each in outcome.environments]
    return RunMeta(
        schema=SCHEMA, run_id=writer.run_id, status=outcome.status, reason=outcome.reason, setup=setup.name,
        workload=workload.name, scenario=scenario.name, load=attempt.load, repetition=attempt.repetition,
        block=attempt.block, order=attempt.order, started_utc=writer.started.strftime(_TIMESTAMP),
        finished_utc=datetime.now(UTC).strftime(_TIMESTAMP), machine_id=bench.machine.id, plan=attempt.plan,
        baseline=attempt.baseline, knobs=dict(attempt.knobs), scenario_resolved=_asked(scenario),
        setup_facts=_facts(setup.model_dump(mode="json")), workload_facts=_facts(workload.model_dump(mode="json")),
        seeds={"attempt": attempt.seed, "scenario": scenario.seed}, server_cpus=list(bench.cores.server),
        load_cpus=list(bench.cores.load), hashes={**content(attempt), "harness": bench.harness_hash},
        versions=versions(folders), git=dict(bench.git), device=attempt.device,
        facts={**outcome.facts, **_upkeep(setup, folders, outcome.facts.get("server_version", {}))})


def _upkeep(setup: Setup, environments: Sequence[Path], said: Mapping[str, str]) -> dict[str, Any]:
    """What it takes to keep the setup, as far as its files tell and the server `said` what it is."""
    engine = of_parts(engine_versions(part, packages(environment))
                      for part, environment in zip(setup.parts, environments, strict=False))
    return {"code_lines": code_lines(setup), "engine_versions": {**said, **engine}}


def versions(environments: Sequence[Path]) -> dict[str, str]:
    """What ran: tailrace, Python, the kernel, the load engine, every package of the server's environments, the
    first of which tells where several have one, and what they see of the machine's to compute with."""
    own = {name: _version(name) for name in ("tailrace", "locust", "gevent", "httptools", "numpy")}
    served = {f"env/{name}": version for environment in reversed(environments)
              for name, version in packages(environment).items()}
    seen = {f"machine/{name}": str(version) for environment in environments
            for name, version in machine_packages(environment).get("computing", {}).items()}
    return {"python": platform.python_version(), "kernel": platform.release(), **own, **served, **seen}


def packages(environment: Path) -> dict[str, str]:
    """Name -> version of every package of an environment: those in it, and the machine's that stand in for locked
    ones."""
    instead = {name: str(each["used"]) for name, each in machine_packages(environment).get("stands_in", {}).items()}
    own = dict(path.name.removesuffix(".dist-info").rsplit("-", 1)
               for path in environment.glob("lib/python*/site-packages/*.dist-info"))
    return dict(sorted({**instead, **own}.items()))


def git_state(root: Path) -> dict[str, Any]:
    """The commit of the checkout around `root` and whether files differ from it; {} outside of one."""
    commit = _git(root, "rev-parse", "HEAD")
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return {}
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no"))}


def harness_hash() -> str:
    """The content of the harness's own code."""
    return hash_paths([Path(harness.__file__).parent])


def content(attempt: Attempt) -> dict[str, str]:
    """Content hashes of what the attempt measures."""
    return {**nouns(attempt.setup, attempt.workload), "scenario": _scenario_hash(attempt.scenario)}


def nouns(setup: Setup, workload: Workload) -> dict[str, str]:
    """Content hashes of a setup, a workload, and the locks they are served with."""
    locks = [lock for lock in (workload.lock, *(part.lock for part in setup.parts)) if lock.is_file()]
    return {"setup": hash_paths([folder for folder in setup.code if folder.is_dir()]),
            "workload": hash_paths(workload.code), "lock": hash_paths(locks)}


def _asked(scenario: Scenario) -> dict[str, Any]:
    """What the scenario says, without where a locustfile lies on this disk."""
    return {**scenario.model_dump(mode="json"), "locustfile": Path(scenario.locustfile).name}


def _scenario_hash(scenario: Scenario) -> str:
    """Of what it says, and of what a user's own locustfile says; not of where that lies."""
    text = scenario.model_copy(update={"locustfile": ""}).model_dump_json()
    return hash_paths([Path(scenario.locustfile)] if scenario.locustfile else [], text)


def _facts(noun: Mapping[str, Any]) -> dict[str, Any]:
    """What the noun's file says, without where it lies on this disk."""
    return {name: value for name, value in noun.items() if name not in ("folder", "name", "knobs")}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20,
                              check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
