"""`tailrace advise`: asks about a situation, explains the ways of serving, writes the plan that would settle it."""

import sys
from pathlib import Path
from typing import Any

import typer

from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.toml import read_noun, validate
from harness.cli.show import dump, screen
from harness.decide.advise import EXPLAINED, Advice, Answers, demand_toml, plan_toml, scenario_toml
from harness.decide.advise import advise as advised
from harness.errors import TailraceError, UsageError

FILES = ("scenario.toml", "demand.toml", "plan.toml")


def advise(path: Path | None, out: Path, as_json: bool) -> None:
    """Answers come from a TOML file or are asked for; the scenario, the demand and the plan are written into `out`."""
    catalog = find_catalog()
    answers = read_noun(Answers, path) if path else _asked(catalog)
    catalog.workload(answers.workload)
    made = advised(answers, [catalog.setup(name) for name in catalog.setup_names()])
    if not made.setups:
        raise TailraceError(f"no setup here fits {answers.workload}",
                            "add one to setups/, or say what is there already")
    _write(answers, made, out)
    steps = _steps(answers, made, out)
    if as_json:
        dump({"mode": made.mode, "explained": made.explained, "reasons": made.reasons, "setups": dict(made.setups),
              "left_out": dict(made.left_out), "answers": answers.model_dump(), "next": steps,
              "files": [str(out / name) for name in FILES]})
        return
    page = screen()
    for reason in (made.explained, *made.reasons):
        page.print(reason, markup=False, highlight=False)
    for mode, said in EXPLAINED.items():
        if mode != made.mode:
            page.print(f"  {said}", markup=False, highlight=False, style="dim")
    page.print("Worth measuring:", style="bold")
    for name, why in made.setups:
        page.print(f"  {name}: {why}", markup=False, highlight=False)
    for name, why in made.left_out:
        page.print(f"  not {name}: {why}", markup=False, highlight=False, style="dim")
    page.print("What settles it:", style="bold")
    for step in steps:
        page.print(f"  {step}", markup=False, highlight=False)


def _steps(answers: Answers, made: Advice, out: Path) -> list[str]:
    steps = [f"tailrace run {out / 'plan.toml'}"]
    if made.mode != "batch":
        limit = answers.latency_ms if made.mode in ("interactive", "edge") else 1e3 * answers.fresh_s
        steps.append(f"tailrace decide --workload {answers.workload} --slo 'p(99)<{limit:g}ms' --slo 'errors<0.1%' "
                     f"--demand {out / 'demand.toml'} --out docs/decisions")
    return steps


def _asked(catalog: Catalog) -> Answers:
    """The answers of whoever sits at the terminal."""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to ask", "give the answers as a TOML file (see docs/deciding.md)")
    names = catalog.workload_names()
    table: dict[str, Any] = {
        "workload": typer.prompt(f"Which model ({', '.join(names)})?", default=names[0]),
        "custom": typer.prompt("How custom: 'standard' (a file an inference server reads) or 'python'?",
                               default="python"),
        "waits": typer.prompt("Who waits for an answer: user, system or nobody?", default="user"),
        "fresh_s": typer.prompt("How old may an answer be, in seconds?", default=1.0, type=float),
        "offline": typer.confirm("Must it work without a network?", default=False),
        "requests_per_day": typer.prompt("How many requests a day?", default=1e6, type=float),
        "peak_over_mean": typer.prompt("How many times the mean is the busiest minute?", default=3.0, type=float),
        "latency_ms": typer.prompt("Within how many ms should 99 of 100 answers come?", default=200.0, type=float),
        "has": tuple(typer.prompt("What is there already (redis, ray, gpu …; comma-separated)?", default="none")
                     .replace(" ", "").replace("none", "").split(",")),
    }
    table["has"] = tuple(name for name in table["has"] if name)
    return validate(Answers, table, "your answers")


def _write(answers: Answers, made: Advice, out: Path) -> None:
    texts = (scenario_toml(answers, made.mode), demand_toml(answers),
             plan_toml(answers, made, str(out / "scenario.toml")))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, texts, strict=True):
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{out}: cannot be written: {error.strerror}", "give another folder with --out") from None
