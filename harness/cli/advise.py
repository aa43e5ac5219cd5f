"""`tailrace advise`: asks about a situation, explains the ways of serving, writes the plan that would settle it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import typer

from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.toml import read_noun, validate
from harness.cli.show import dump, screen
from harness.decide.advise import EXPLAINED, Advice, Answers, demand_toml, plan_toml, scenario_toml
from harness.decide.advise import advise as advised
from harness.errors import TailraceError, UsageError
from harness.report.words import clean

FILES = ("scenario.toml", "demand.toml", "plan.toml")


def advise(path: Path | None, out: Path, as_json: bool) -> None:
    """Answers come from a TOML file or are asked for; the scenario, the demand and the plan are written into `out`."""
    catalog = find_catalog()
    if path is None and not sys.stdin.isatty():
        raise UsageError("nobody is there to ask", "give the answers as a TOML file (see docs/deciding.md)")
    answers = read_noun(Answers, path) if path else asked(catalog)
    catalog.workload(answers.workload)
    made = advised(answers, [catalog.setup(name) for name in catalog.setup_names()])
    if not made.setups:
        raise TailraceError(f"no setup here fits {answers.workload}",
                            "add one to setups/, or say what is there already")
    steps = _steps(answers, made, out)
    _write(answers, made, steps, out)
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
    """What to do, in order: commands, and a sentence where no command settles it."""
    steps = [f"tailrace run {quote(str(out / 'plan.toml'))}"]
    if made.mode == "batch":
        steps.append("read the cost of a million good answers in its table: machines of a batch job run full, so that "
                     "price ÷ throughput is the bill, and the cheapest setup whose answers are right is the choice")
    else:
        limit = answers.latency_ms if made.mode in ("interactive", "edge") else 1e3 * answers.fresh_s
        promise = f"--workload {answers.workload} --slo 'p(99)<{limit:g}ms' --slo 'errors<0.1%'"
        steps += [f"tailrace capacity {name} {promise}" for name, _ in made.setups]
        steps.append(f"tailrace decide {promise} --demand {quote(str(out / 'demand.toml'))} --out docs/decisions")
    return steps


def asked(catalog: Catalog) -> Answers:
    """The answers of whoever sits at the terminal; what cannot be an answer is asked for again at once."""
    names = catalog.workload_names()
    table: dict[str, Any] = {
        "workload": _ask(f"Which model ({', '.join(names)})?", names[0], lambda text: catalog.workload(text).name),
        "custom": _ask("How custom: 'standard' (a file an inference server reads) or 'python'?", "python",
                       _field("custom")),
        "waits": _ask("Who waits for an answer: user, system or nobody?", "user", _field("waits")),
        "fresh_s": _ask("How old may an answer be, in seconds?", "1", _field("fresh_s")),
        "offline": typer.confirm("Must it work without a network?", default=False),
        "requests_per_day": _ask("How many requests a day?", "1e6", _field("requests_per_day")),
        "peak_over_mean": _ask("How many times the mean is the busiest minute?", "3", _field("peak_over_mean")),
        "latency_ms": _ask("Within how many ms should 99 of 100 answers come?", "200", _field("latency_ms")),
        "has": _ask("What is there already (redis, ray, gpu …; comma-separated)?", "none",
                    lambda text: tuple(name for name in text.replace(" ", "").split(",") if name not in ("", "none"))),
    }
    return validate(Answers, table, "your answers")


def _ask(words: str, default: str, read: Callable[[str], Any]) -> Any:
    def understood(text: str) -> Any:
        try:
            return read(text.strip())
        except TailraceError as error:
            raise typer.BadParameter(str(error)) from None
    return typer.prompt(words, default=default, value_proc=understood)


def _field(name: str) -> Callable[[str], Any]:
    """Reads one answer as `Answers` would."""
    usual: dict[str, Any] = {"workload": "any", "requests_per_day": 1.0}
    return lambda text: getattr(validate(Answers, {**usual, name: text}, "your answer"), name)


def _write(answers: Answers, made: Advice, steps: Sequence[str], out: Path) -> None:
    said = "".join(f"# {clean(step)}\n" for step in ("What settles it, in this order:", *steps))
    texts = (scenario_toml(answers, made.mode), demand_toml(answers),
             said + plan_toml(answers, made, str(out / "scenario.toml")))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in zip(FILES, texts, strict=True):
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise TailraceError(f"{out}: cannot be written: {error.strerror}", "give another folder with --out") from None
