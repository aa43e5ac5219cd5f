"""How the figures came about: machine, load, versions, prices, and the runs with the command that proves each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from harness.analyse.model import Analysis, Cost
from harness.record.schema import RunMeta
from harness.report.words import clean, escaped, figure

COMMAND = "tailrace verify"


def html(analysis: Analysis, metas: Sequence[RunMeta]) -> str:
    """Everything a reader needs to believe the figures or to make them again."""
    return "".join((
        "<h3>What was asked</h3>", _asked(metas), "<h3>How a figure is made</h3>", _figures(metas),
        "<h3>What it costs</h3>", _prices(analysis), "<h3>On which machine</h3>", facts(analysis.machine),
        "<h3>With which versions</h3>", _versions(metas), "<h3>The runs</h3>", _runs(metas)))


def _asked(metas: Sequence[RunMeta]) -> str:
    said = []
    for workload, scenario in dict.fromkeys((meta.workload, meta.scenario) for meta in metas):
        of = [meta for meta in metas if (meta.workload, meta.scenario) == (workload, scenario)]
        loads = sorted({meta.load for meta in of})
        resolved = of[0].scenario_resolved
        stages = "; then ".join(_stage(stage) for stage in resolved.get("stage", ()))
        times = "" if loads == [1.0] else f", at {', '.join(f'×{load:g}' for load in loads)} of that load"
        repeated, raced = len({meta.repetition for meta in of}), len({meta.setup for meta in of})
        said.append(f"<li><b>{escaped(workload)}</b> under <b>{escaped(scenario)}</b>: {escaped(stages)}"
                    f"{escaped(times)}; {repeated} repetitions of {raced} setups.</li>")
    return f"<ul>{''.join(said)}</ul>"


def _stage(stage: Mapping[str, object]) -> str:
    if stage.get("arrivals") == "closed":
        return f"{stage.get('users')} users in a closed loop for {stage.get('duration_s')} s"
    rate, end = (_number(stage.get(name)) for name in ("rate", "rate_end"))
    ramp = f" rising or falling to {end}" if end else ""
    return f"{stage.get('arrivals')} arrivals at {rate}{ramp} requests/s for {_number(stage.get('duration_s'))} s"


def _number(value: object) -> str:
    return f"{float(value):,.6g}" if isinstance(value, int | float) else ""


def _figures(metas: Sequence[RunMeta]) -> str:
    server, load = ({len(getattr(meta, name)) for meta in metas} for name in ("server_cpus", "load_cpus"))
    cores = f"{_span(server)} CPUs belonged to the server and {_span(load)} to the generator." if metas else ""
    warmed = any(meta.scenario_resolved.get("warmup_s") for meta in metas)
    lines = (
        "Latency counts from the moment a request was due, not from when it was sent, so that waiting is never hidden; "
        "a failed request has infinite latency.",
        _fairness(metas),
        "A quantile is taken over the requests of all valid repetitions together; its interval holds the limits whose "
        "share of slower requests is not unlike the quantile's, by a jackknife over repetitions, and is left out where "
        "they are worth too few independent requests. Two setups are compared by pairs of repetitions, and a "
        "difference is claimed only where its p-value, corrected for the number of comparisons (Holm), is below 5 %.",
        "Warm-up was recorded and is not counted." if warmed else "", cores)
    return _list(line for line in lines if line)


def _fairness(metas: Sequence[RunMeta]) -> str:
    """Whether setups replayed the same seeds, and in how many blocks they took turns."""
    seeds: dict[tuple[object, ...], set[str]] = {}
    for meta in metas:
        place = (meta.workload, meta.scenario, meta.load, meta.repetition)
        seeds.setdefault(place, set()).add(str(sorted(meta.seeds.items())))
    alike = all(len(found) == 1 for found in seeds.values())
    said = "Within a repetition every setup got the same seeded schedule and payloads" if alike else \
        "Setups did not all get the same seeds, so their differences hold more noise"
    return f"{said}; setups took turns in {len({meta.block for meta in metas})} blocks."


def _span(counts: set[int]) -> str:
    return f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def _prices(analysis: Analysis) -> str:
    costs = [cell.cost for cell in analysis.cells if cell.cost]
    if not costs:
        return "<p>No price was given, so no cost is shown.</p>"
    kinds = dict.fromkeys(f"{clean(cost.instance)}: ${figure(cost.hourly_usd)} an hour "
                          f"(prices of {clean(cost.price_date)})" for cost in costs)
    shared, single = assumptions(costs)
    return (f"{_list(kinds)}<p>Assumed:</p>{_list(shared)}"
            f"<details><summary>Assumed for each setup and load</summary>{_list(single)}</details>")


def assumptions(costs: Sequence[Cost]) -> tuple[list[str], list[str]]:
    """What is assumed for several cells (or for the only one), and what for one cell each."""
    counted = Counter(line for cost in costs for line in cost.assumptions)
    return ([line for line, n in counted.items() if n > 1 or len(costs) == 1],
            [line for line, n in counted.items() if n == 1 and len(costs) > 1])


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in lines)}</ul>"


def facts(told: Mapping[str, object]) -> str:
    """What is known about a machine, as a table."""
    flat = _flat(told)
    if not flat:
        return "<p>Nothing was recorded about the machine.</p>"
    rows = "".join(f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(value)}</td></tr>" for name, value in flat)
    return f"<div class='scroll'><table class='facts'><tbody>{rows}</tbody></table></div>"


def _flat(facts: Mapping[str, object], above: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        label = f"{above}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{label} · ")
        elif isinstance(value, list | tuple):
            rows.append((label, ", ".join(clean(each) for each in value)))
        else:
            rows.append((label, clean(value)))
    return rows


def _versions(metas: Sequence[RunMeta]) -> str:
    versions: dict[str, set[str]] = {}
    for meta in metas:
        for name, version in meta.versions.items():
            versions.setdefault(name, set()).add(clean(version))
    commits = sorted({clean(meta.git["commit"]) + (" (with uncommitted changes)" if meta.git.get("dirty") else "")
                      for meta in metas if meta.git.get("commit")})
    rows = [(name, ", ".join(sorted(found))) for name, found in sorted(versions.items())]
    rows += [("commit", ", ".join(commits))] if commits else []
    return facts(dict(rows)) if rows else "<p>No versions were recorded.</p>"


def _runs(metas: Sequence[RunMeta]) -> str:
    rows = "".join(
        f"<tr><td>{escaped(meta.setup)}</td><td>{escaped(meta.workload)}</td><td>r{meta.repetition}</td>"
        f"<td>{escaped(meta.status)}</td><td><code>{COMMAND} {escaped(meta.run_id)}</code></td></tr>"
        for meta in metas)
    return (f"<p>{len(metas)} runs; each command proves that a record is whole and unaltered.</p>"
            "<details><summary>Show the runs</summary><div class='scroll'><table class='facts'><thead><tr>"
            "<th scope='col'>setup</th><th scope='col'>workload</th><th scope='col'>run</th><th scope='col'>status</th>"
            f"<th scope='col'>prove it</th></tr></thead><tbody>{rows}</tbody></table></div></details>")
