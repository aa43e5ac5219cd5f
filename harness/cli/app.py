"""The commands. Each one parses, calls one part of the harness, shows what came back, and picks the exit code.

Everything heavy is imported inside the command that needs it: `tailrace --help` must be instant.
"""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.provision import pack, prepare
from harness.cli.setups import capacity, check, tune

# ruff: noqa: PLC0415

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Race serving setups under open-loop load; learn which to run, how sure that is, what it costs.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
Prices = Annotated[list[str] | None, typer.Option("--price", help="SETUP=USD/h, for example flask=0.34/h; repeatable.")]
Kwh = Annotated[float | None, typer.Option("--price-kwh", min=0, help="USD per kWh of a GPU's energy.")]
Against = Annotated[Path | None, typer.Option(help="Another machine's results: these beside it, or CPU and GPU.")]
Names = list[str] | None


@app.command("list")
def list_(json: Json = False) -> None:
    """What there is to race: setups, workloads, scenarios and plans."""
    from harness.cli import look

    look.catalog(json)


app.command()(prepare)
app.command()(pack)


@app.command()
def run(
    plan: Annotated[str | None, typer.Argument(help="A plan's name or TOML file; none: use the flags.")] = None,
    setup: Annotated[Names, typer.Option(help="Setups, comma-separated or repeated.")] = None,
    workload: Annotated[Names, typer.Option(help="Workloads, comma-separated or repeated.")] = None,
    scenario: Annotated[str | None, typer.Option(help="A scenario's name or TOML file.")] = None,
    load: Annotated[list[float] | None, typer.Option(help="Multiple of the scenario's rates; repeatable.")] = None,
    knob: Annotated[Names, typer.Option(help="SETUP.KNOB=VALUE; repeatable.")] = None,
    repetitions: Annotated[int | None, typer.Option("--repetitions", "-n", help="How often (default 5).")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of counted load of one-stage scenarios.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with this setup.")] = None,
    slo: Annotated[Names, typer.Option(help="Promise this instead, as in k6: 'p(95)<200', 'rate<0.01'.")] = None,
    results: Results = Path("results"),
    resume: Annotated[bool, typer.Option("--resume", help="Measure only what is missing.")] = False,
    tuned: Annotated[bool, typer.Option("--tuned", help="Race with the profiles that `tailrace tune` kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the runs and stop.")] = False,
    until: Annotated[str | None, typer.Option(help="`verdict`: end a run as soon as its promises are judged.")] = None,
    until_cap: Annotated[float, typer.Option(help="Seconds after which it ends without.", min=1, max=3600)] = 600.0,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 99, 110 or 111 when a verdict is not `pass`.")] = False,
    web: Annotated[int | None, typer.Option(help="Serve Locust's page on this loopback port (HTTP only); of several "
                                                 "load processes it shows the first one's share.")] = None,
    locustfile: Annotated[Path | None, typer.Option(help="Your own locustfile instead of a scenario.")] = None,
    users: Annotated[int, typer.Option(help="Users of that locustfile (closed loop).")] = 10,
    device: Annotated[str | None, typer.Option(help="Models compute on `cpu` or `gpu` (default the plan's).")] = None,
    price: Prices = None,
    price_kwh: Kwh = None,
    json: Json = False,
) -> None:
    """Race setups: start each, load it, record every request; ends in one table and one sentence."""
    from harness.cli import race
    from harness.cli.ask import names, parse_knobs

    asked = race.Asked(plan, names(setup), names(workload), scenario, load or [], parse_knobs(knob),
                       repetitions, duration, baseline, slo or [], locustfile, users, device)
    raise typer.Exit(race.race(asked, results, race.How(resume, dry_run, gate, web, price or [], json,
                                                            until, until_cap, tuned, price_kwh)))


@app.command()
def calibrate(
    quick: Annotated[bool, typer.Option("--quick", help="Half a minute instead of two and a half.")] = False,
    json: Json = False,
) -> None:
    """Show how far measurement can be trusted on this machine, against a target whose delays are known."""
    from harness.cli import calibration

    calibration.calibrate(quick, json)


@app.command()
def audit(
    quick: Annotated[bool, typer.Option("--quick", help="A sample.")] = False,
    minutes: Annotated[float | None, typer.Option(help="At most so long (25; 3 with --quick).", min=0.1)] = None,
    json: Json = False,
) -> None:
    """Seed faults for real and show which are caught; exits 111 unless 95 % are, and no clean run is accused, 110 where
    too little was tried to tell."""
    from harness.cli.audit import audit as examine

    raise typer.Exit(examine(quick, minutes, json))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("report"),
    plan: Annotated[str | None, typer.Option(help="Only this plan's runs.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Compare with this setup.")] = None,
    gate: Annotated[bool, typer.Option("--gate", help="Exit 99, 110 or 111 when a verdict is not `pass`.")] = False,
    price: Prices = None,
    price_kwh: Kwh = None,
    against: Against = None,
) -> None:
    """Write notebook.ipynb (executed), report.html, report.md, summary.json and junit.xml."""
    from harness.cli import findings

    raise typer.Exit(findings.report(results, out, plan, baseline, price or [], gate, price_kwh, against))


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its id below --results.")],
    results: Results = Path("results"),
    out: Annotated[Path | None, typer.Option(help="Draw it into this SVG file.")] = None,
    json: Json = False,
) -> None:
    """Say why the slowest percent of a run was slow: causes with shares, and examples by row."""
    from harness.cli import explain as explaining

    explaining.explain(run, results, out, json)


@app.command()
def compare(
    results: Annotated[Path, typer.Argument(help="Folder of the records.")] = Path("results"),
    baseline: Annotated[str | None, typer.Option(help="Compare with this setup.")] = None,
    plan: Annotated[str | None, typer.Option(help="Only this plan's runs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compare unlike machines or models all the same.")] = False,
    price: Prices = None,
    price_kwh: Kwh = None,
    against: Against = None,
    json: Json = False,
) -> None:
    """Compare setups in the manner of benchstat; `~` stands where nothing can be told."""
    from harness.cli import findings

    findings.compare(results, baseline, plan, price or [], force, json, price_kwh, against)


@app.command()
def predict(
    setup: Annotated[str, typer.Argument(help="The setup whose recorded runs the twin is fitted to.")],
    workload: Annotated[str, typer.Option(help="The workload it serves.")],
    what_if: Annotated[Names, typer.Option(help="'max batch 8 to 32', '3 to 12 workers'; repeatable.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second; the newest run's where not given.")] = None,
    demand: Annotated[str | None, typer.Option(help="A demand; its busiest minute is the load.")] = None,
    slo: Annotated[Names, typer.Option(help="A clause of the promise, for example 'p(99)<100ms'.")] = None,
    retries: Annotated[int, typer.Option(help="How often clients try again.")] = 0,
    attempt_s: Annotated[float, typer.Option(help="Seconds after which they do; refusals at once.")] = float("inf"),
    hedge_s: Annotated[float, typer.Option(help="Seconds after which a second copy is sent.")] = float("inf"),
    deadline_s: Annotated[float, typer.Option(help="Seconds that travel with a request.")] = float("inf"),
    scenario: Annotated[str | None, typer.Option(help="Arrivals as in this scenario instead of Poisson's.")] = None,
    balancer: Annotated[str, typer.Option(help="Of fleets: round_robin, random, least_of_2, least.")] = "least_of_2",
    verify: Annotated[bool, typer.Option("--verify", help="Measure the last prediction, print both.")] = False,
    machine: Annotated[str | None, typer.Option(help="Ask about this machine, whose records lie in --results.")] = None,
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """What if? Latency at loads, knobs and fleets never measured, with the twin's held-out error; 110: it abstains."""
    from harness.cli import predict as predictions
    from harness.decide.twin import Clients

    raise typer.Exit(predictions.predict(predictions.Asked(
        setup, workload, what_if or [], rate, demand, slo or [], verify,
        Clients(retries=retries, attempt_s=attempt_s, hedge_s=hedge_s, deadline_s=deadline_s), scenario, balancer,
        machine),
        results, json))


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="A run's folder, or its id below --results.")],
    results: Results = Path("results"),
    json: Json = False,
) -> None:
    """Prove that a run's record is whole and unaltered; exits 111 when it is not."""
    from harness.cli import look

    raise typer.Exit(look.verify(run, results, json))


Slo = Annotated[list[str], typer.Option(help="A clause of the promise, for example 'p(99)<100ms'; repeatable.")]
Demands = Annotated[str, typer.Option(help="A name in demands/, a .toml or .csv file, or requests per second.")]
Fleets = Annotated[str, typer.Option(help="How replicas are kept, for example policy=reactive,spare=1,zones=3.")]
Instances = Annotated[Names, typer.Option("--instance", help="SETUP=INSTANCE of the price list; repeatable.")]
Speeds = Annotated[Names, typer.Option(help="SETUP=FACTOR: how fast its instance is ASSUMED to be, against here.")]
Carries = Annotated[Names, typer.Option(help="SETUP=REQ/S that one replica carries, instead of what was measured.")]
Machines = Annotated[Names, typer.Option("--machine", help="SETUP=ID of the machine whose records of it count.")]
PriceList = Annotated[Path | None, typer.Option("--price-list", help="A TOML of prices/ instead of the newest one.")]


@app.command()
def bill(
    workload: Annotated[str, typer.Option(help="The workload that is served.")],
    slo: Slo,
    demand: Demands,
    setup: Annotated[Names, typer.Option(help="Setups, comma-separated or repeated; all that were measured.")] = None,
    fleet: Fleets = "",
    results: Results = Path("results"),
    price: Prices = None,
    instance: Instances = None,
    speed: Speeds = None,
    carries: Carries = None,
    machine: Machines = None,
    price_list: PriceList = None,
    json: Json = False,
) -> None:
    """What a demand costs with each setup: replicas by the hour, cost per million good requests, break-even loads."""
    from harness.cli import bill as bills
    from harness.cli.ask import names
    from harness.decide.bill_question import Question

    raise typer.Exit(bills.bill(Question(
        workload, slo, demand, names(setup), fleet, results, price or [], instance or [], speed or [], carries or [],
        price_list, machine or []), json))


@app.command()
def prices(
    skypilot: Annotated[Path, typer.Argument(help="A vms.csv of SkyPilot's catalogue.")],
    cloud: Annotated[str, typer.Option(help="Whose prices these are: aws, gcp, azure …")],
    region: Annotated[str, typer.Option(help="The region to take.")],
    only: Annotated[Names, typer.Option(help="These instance types alone, comma-separated.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output where none is given.")] = None,
) -> None:
    """Turn SkyPilot's catalogue into a price list (unverified, dated today)."""
    from harness.cli import bill as bills
    from harness.cli.ask import names

    bills.import_prices(skypilot, cloud, region, names(only), out)


@app.command()
def decide(
    workload: Annotated[str, typer.Option(help="The workload that is served.")] = "",
    slo: Annotated[Names, typer.Option(help="A clause of the promise, for example 'p(99)<100ms'; repeatable.")] = None,
    demand: Annotated[str, typer.Option(help="A name in demands/, a .toml or .csv file, or requests per second.")] = "",
    setup: Annotated[Names, typer.Option(help="Setups, comma-separated or repeated; all that were measured.")] = None,
    must: Annotated[str, typer.Option(help="What a setup must have, for example gpu=no,hot_swap=yes.")] = "",
    weights: Annotated[str, typer.Option(help="What orders equals, for example latency=2,moving_parts=1.")] = "",
    worth: Annotated[float, typer.Option(help="Costs nearer than this share are no difference worth having.")] = 0.05,
    error: Annotated[float, typer.Option(help="Chance of naming a setup that is not the cheapest.")] = 0.05,
    fleet: Fleets = "",
    results: Results = Path("results"),
    price: Prices = None,
    instance: Instances = None,
    speed: Speeds = None,
    carries: Carries = None,
    machine: Machines = None,
    price_list: PriceList = None,
    out: Annotated[Path | None, typer.Option(help="Folder to number the record in: docs/decisions.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for the decision's notebook and page.")] = None,
    recheck: Annotated[Path | None, typer.Option(help="A record: has one of its triggers fired? (99 then)")] = None,
    json: Json = False,
) -> None:
    """Say what to run: A, A or B alike, or what to measure first; write the record; check it again later."""
    from harness.cli import decide as decisions
    from harness.cli.ask import names
    from harness.decide.bill_question import Question
    from harness.decide.choice_answer import Wishes
    from harness.errors import UsageError

    if recheck:
        raise typer.Exit(decisions.again(recheck, results, demand, price or [], json))
    for flag, given in (("--workload", workload), ("--slo", slo), ("--demand", demand)):
        if not given:
            raise UsageError(f"{flag} is missing", "give --workload, --slo and --demand, or --recheck FILE")
    raise typer.Exit(decisions.decide(
        Question(workload, slo or [], demand, names(setup), fleet, results, price or [], instance or [], speed or [],
                 carries or [], price_list, machine or []), Wishes(must, weights, worth, error), out, report, json))


@app.command()
def advise(
    answers: Annotated[Path | None, typer.Argument(help="A TOML file of answers; none: you are asked.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the plan, its scenario and the demand.")] = Path("advice"),
    json: Json = False,
) -> None:
    """Ask about your situation, explain batch, streaming, interactive and edge, and write the plan that settles it."""
    from harness.cli import advise as advice

    advice.advise(answers, out, json)


for command in (check, tune, capacity):
    app.command()(command)
