"""The tree is the registry: what lies where, and finding one by name."""

import os
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.plan import EVERY, Plan, read_plan
from harness.catalog.scenario import Scenario, read_scenario
from harness.catalog.setup import Setup, read_setup
from harness.catalog.toml import nearest
from harness.catalog.workload import Workload, read_workload
from harness.errors import UsageError
from harness.parcel.source import cache_folder as cache_folder  # noqa: PLC0414 -- where all else is found, too


@dataclass(frozen=True)
class Catalog:
    """The nouns below one root folder. Names are folders' and files' names; reading happens on asking."""

    root: Path

    def setup_names(self) -> list[str]:
        """Every folder in setups/ that holds a setup.toml."""
        return sorted(path.parent.name for path in self.root.glob("setups/*/setup.toml"))

    def workload_names(self) -> list[str]:
        """Every folder in workloads/ that holds a workload.toml."""
        return sorted(path.parent.name for path in self.root.glob("workloads/*/workload.toml"))

    def scenario_names(self) -> list[str]:
        """Every TOML file in scenarios/."""
        return sorted(path.stem for path in self.root.glob("scenarios/*.toml"))

    def plan_names(self) -> list[str]:
        """Every TOML file in plans/."""
        return sorted(path.stem for path in self.root.glob("plans/*.toml"))

    def setup(self, name: str) -> Setup:
        """The setup of that name. Raises UsageError for an unknown one."""
        return read_setup(self.root / "setups" / _known(name, self.setup_names(), "setup"))

    def workload(self, name: str) -> Workload:
        """The workload of that name. Raises UsageError for an unknown one."""
        return read_workload(self.root / "workloads" / _known(name, self.workload_names(), "workload"))

    def scenario(self, name: str) -> Scenario:
        """The scenario of that name, or in that file. Raises UsageError for an unknown one."""
        if name.endswith(".toml"):
            return read_scenario(Path(name))
        return read_scenario(self.root / "scenarios" / f"{_known(name, self.scenario_names(), 'scenario')}.toml")

    def plan(self, name: str) -> Plan:
        """The plan of that name, or in that file, with every setup named that races. Raises UsageError for an unknown
        one."""
        path = Path(name) if name.endswith(".toml") else \
            self.root / "plans" / f"{_known(name, self.plan_names(), 'plan')}.toml"
        plan = read_plan(path)
        return plan.model_copy(update={"race": tuple(
            race.model_copy(update={"setups": tuple(self.setup_names())}) if race.setups == (EVERY,) else race
            for race in plan.race)})


def find_catalog(start: Path | None = None) -> Catalog:
    """The catalog around `start` (or $TAILRACE_ROOT, or the working folder, or this checkout)."""
    given = os.environ.get("TAILRACE_ROOT")
    here = Path(given) if given else (start or Path.cwd())
    for folder in (here.resolve(), *here.resolve().parents):
        if any(folder.glob("setups/*/setup.toml")) and any(folder.glob("workloads/*/workload.toml")):
            return Catalog(folder)
    checkout = Path(__file__).resolve().parents[2]
    if given or not (checkout / "setups").is_dir():
        raise UsageError(f"{here}: no folder with a setup and a workload here or above",
                         "run tailrace inside a checkout, or set TAILRACE_ROOT")
    return Catalog(checkout)


def _known(name: str, known: list[str], noun: str) -> str:
    if name not in known:
        raise UsageError(f"unknown {noun} '{name}'", nearest(name, known))
    return name
