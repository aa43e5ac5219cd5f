"""The commands about setups themselves, proving, tuning and filling them; app.py registers them beside the others."""

from pathlib import Path
from typing import Annotated

import typer

# ruff: noqa: PLC0415

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
Device = Annotated[str, typer.Option(help="Models compute on `cpu` or `gpu`.")]
Names = list[str] | None


def check(
    setup: Annotated[Names, typer.Argument(help="The setups to prove; every one when none is named.")] = None,
    workload: Annotated[Names, typer.Option(help="What it serves meanwhile (default fraud).")] = None,
    knob: Annotated[Names, typer.Option(help="SETUP.KNOB=VALUE; repeatable.")] = None,
    device: Device = "cpu",
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Start setups and prove their contract, point by point; exits 99 when a point fails."""
    from harness.cli import prove
    from harness.cli.ask import names, parse_knobs

    asked = prove.Asked(names(setup), names(workload) or ["fraud"], parse_knobs(knob), device)
    raise typer.Exit(prove.check(asked, results, json))


def tune(
    setup: Annotated[str, typer.Argument(help="The setup whose knobs are searched.")],
    workload: Annotated[str, typer.Option(help="What it serves.")],
    slo: Annotated[Names, typer.Option(help="A clause of the promise, for example 'p(99)<100ms'; repeatable.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Rate and promise (default WORKLOAD-steady).")] = None,
    knob: Annotated[Names, typer.Option(help="SETUP.KNOB=VALUE that is not searched; repeatable.")] = None,
    settings: Annotated[int, typer.Option(min=1, max=40, help="How many besides the default are tried.")] = 8,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="Seconds of load of each run.")] = 5.0,
    fresh: Annotated[int, typer.Option(min=2, max=20, help="Pairs of runs that confirm the best.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draw and of the load.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Measure only what an interrupted search lacks.")] = False,
    device: Device = "cpu",
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Search a setup's knobs for the best goodput at a promise; `run --tuned` races what was found."""
    from harness.cli import tune as tuning
    from harness.cli.ask import parse_knobs

    pinned = parse_knobs(knob)
    tuning.refuse_strangers(setup, pinned)
    asked = tuning.Asked(setup, workload, scenario, slo or [], settings, seconds, fresh, seed, device,
                         pinned.get(setup, {}), resume)
    raise typer.Exit(tuning.tune(asked, results, json))


def capacity(
    setup: Annotated[str, typer.Argument(help="The setup to search.")],
    workload: Annotated[str, typer.Option(help="The workload it serves.")],
    slo: Annotated[list[str], typer.Option(help="A clause of the promise, for example 'p(99)<100ms'; repeatable.")],
    error: Annotated[str | None, typer.Option(help="The share that may fail, for example '<0.1%'.")] = None,
    knob: Annotated[Names, typer.Option(help="SETUP.KNOB=VALUE; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Of the arrivals.")] = 1,
    longest: Annotated[float, typer.Option(help="Seconds a probe may take at most.")] = 60.0,
    chart: Annotated[Path | None, typer.Option(help="An SVG file for the curve of latency against load.")] = None,
    device: Device = "cpu",
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """The highest load a setup carries within a promise, in at most six probes; exits 111 where the generator ends."""
    from harness.cli import capacity as capacities
    from harness.cli.ask import parse_knobs

    asked = capacities.Asked(setup, workload, slo, error, parse_knobs(knob).get(setup, {}), seed, longest, chart,
                             device)
    raise typer.Exit(capacities.capacity(asked, results, json))
