"""Faults of the generator, the clock, the host and the record, seeded by altering copies of clean runs.

What cannot be made for real without harm to the machine (a stepped clock, stolen CPUs, swapping) is written into the
copy as the harness would have recorded it.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from harness.analyse.summary import analyse
from harness.audit.lab import Lab
from harness.audit.model import Fault, Seeded
from harness.audit.server_faults import seen
from harness.record import layout
from harness.record.read import StoredRun, open_run
from harness.record.requests import Rows
from harness.record.schema import COLUMNS, RunMeta
from harness.record.write import Probe, RunWriter, write_machine

Alter = Callable[[Rows, np.random.Generator], Rows]
MS = 1_000_000


def rewritten(lab: Lab, run: StoredRun, rows: Rows, meta: RunMeta, probes: Sequence[Probe] = ()) -> StoredRun:
    """A record of its own, whole and sealed, with these rows, facts and probes."""
    with RunWriter(lab.scratch / "altered" / meta.machine_id, setup=meta.setup, workload=meta.workload,
                   scenario=meta.scenario) as writer:
        writer.write_requests(rows)
        writer.write_probes(probes or _probes(run))
        return writer.finish(replace(meta, run_id=writer.run_id))


def _probes(run: StoredRun) -> list[Probe]:
    seen_ = run.probes()
    return [Probe(*values) for values in zip(*(seen_[name].tolist() for name in Probe._fields), strict=True)]


def _rows(name: str, how: str, codes: tuple[str, ...], alter: Alter) -> Fault:
    """A fault of the rows."""
    def seed(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
        run = clean[number % len(clean)]
        rows = {column: values.copy() for column, values in run.columns(*COLUMNS).items()}
        return seen(rewritten(lab, run, alter(rows, np.random.default_rng(number)), run.meta))

    return Fault(name, how, codes, seed)


def _told(name: str, how: str, codes: tuple[str, ...], **said: Any) -> Fault:
    """A fault that the generators tell of at their end."""
    def seed(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
        run = clean[number % len(clean)]
        generators = [{**each, **said} for each in run.meta.facts["generators"]]
        facts = {**run.meta.facts, "generators": generators}
        return seen(rewritten(lab, run, run.columns(*COLUMNS), replace(run.meta, facts=facts)))

    return Fault(name, how, codes, seed)


def _probed(name: str, how: str, codes: tuple[str, ...], scope: str, metric: str, per_s: float) -> Fault:
    """A fault that probes see: `metric` of `scope` grows by `per_s` a second."""
    def seed(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
        run = clean[number % len(clean)]
        probes = [each for each in _probes(run) if (each.scope, each.metric) != (scope, metric)]
        looks = sorted({each.t_ns for each in probes})
        probes += [Probe(t_ns, scope, 0, "", metric, 5 + per_s * (t_ns - looks[0]) / 1e9) for t_ns in looks]
        return seen(rewritten(lab, run, run.columns(*COLUMNS), run.meta, probes))

    return Fault(name, how, codes, seed)


def _on_a_gpu(name: str, how: str, codes: tuple[str, ...], **said: float) -> Fault:
    """A fault that NVML sees of a run on a GPU, which is otherwise as it should be."""
    def seed(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
        run = clean[number % len(clean)]
        probes = _probes(run)
        told = {"gpu_busy": 0.5, "gpu_mem_mb": 1e3, "gpu_power_w": 200.0, "gpu_clock_reasons": 0.0,
                "gpu_strangers": 0.0, **said}
        probes += [Probe(t_ns, "gpu", 0, "", metric, value) for t_ns in sorted({each.t_ns for each in probes})
                   for metric, value in told.items()]
        return seen(rewritten(lab, run, run.columns(*COLUMNS), replace(run.meta, device="gpu"), probes))

    return Fault(name, how, codes, seed)


def _lost(rows: Rows, random: np.random.Generator) -> Rows:
    gone = random.choice(len(rows["seq"]) - 2, 3, replace=False) + 1
    return {name: np.delete(values, gone) for name, values in rows.items()}


def _doubled(rows: Rows, random: np.random.Generator) -> Rows:
    twice = int(random.integers(1, len(rows["seq"]) - 1))
    return {name: np.insert(values, twice, values[twice]) for name, values in rows.items()}


def _late(rows: Rows, random: np.random.Generator) -> Rows:
    late = np.where(random.random(len(rows["seq"])) < 0.05, 5 * MS, 0)
    return {**rows, "sent_ns": rows["sent_ns"] + late, "done_ns": rows["done_ns"] + late,
            "first_byte_ns": rows["first_byte_ns"] + late}


def _slower(rows: Rows, _: np.random.Generator) -> Rows:
    slip = np.maximum(rows["due_ns"], 0) // 50
    return {**rows, **{name: rows[name] + slip for name in ("sent_ns", "first_byte_ns", "done_ns")}}


def _evenly(rows: Rows, _: np.random.Generator) -> Rows:
    counted = rows["stage"] >= 0
    due = rows["due_ns"].copy()
    due[counted] = np.linspace(due[counted][0], due[counted][-1], np.count_nonzero(counted)).astype(np.int64)
    moved = due - rows["due_ns"]
    return {**rows, "due_ns": due, **{name: rows[name] + moved for name in ("sent_ns", "first_byte_ns", "done_ns")}}


def _backwards(rows: Rows, random: np.random.Generator) -> Rows:
    done = rows["done_ns"].copy()
    some = random.choice(np.flatnonzero(rows["stage"] >= 0), 5, replace=False)
    done[some] = rows["sent_ns"][some] - 10 * MS
    return {**rows, "done_ns": done}


def _halved(rows: Rows, _: np.random.Generator) -> Rows:
    return {**rows, "done_ns": rows["sent_ns"] + (rows["done_ns"] - rows["sent_ns"]) // 2}


def _every_other(rows: Rows, _: np.random.Generator) -> Rows:
    """As if half had never been: the numbers of the others follow each other."""
    kept = {name: values[::2] for name, values in rows.items()}
    return {**kept, "seq": np.arange(len(kept["seq"]), dtype=rows["seq"].dtype)}


def _edited(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
    """Slow answers are made quick in the file of rows, run.json stays as it is."""
    run = clean[number % len(clean)]
    rows = dict(run.columns(*COLUMNS))
    slow = rows["done_ns"] - rows["due_ns"] > np.quantile(rows["done_ns"] - rows["due_ns"], 0.99 - 0.02 * number)
    rows["done_ns"] = np.where(slow, rows["sent_ns"] + MS, rows["done_ns"])
    made = rewritten(lab, run, rows, run.meta)
    folder = lab.scratch / "edited" / f"{number}"
    shutil.copytree(run.folder, folder)
    shutil.copy(made.folder / layout.REQUESTS, folder / layout.REQUESTS)
    return seen(open_run(folder))


def _reworded(lab: Lab, run: StoredRun, name: str, **fields: Any) -> Seeded:
    """A copy of the run in whose run.json these fields are others."""
    folder = lab.scratch / name
    shutil.copytree(run.folder, folder)
    path = folder / layout.RUN
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")
    return seen(open_run(folder))


def _promised(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
    run = clean[number % len(clean)]
    asked = {**run.meta.scenario_resolved, "slo": {"p(99)": f"< {1000 + number}ms"}}
    return _reworded(lab, run, f"promised{number}", scenario_resolved=asked)


def _talked_over(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
    run = clean[number % len(clean)]
    said = [{**each, "cpu_s": 0.001} for each in run.meta.facts["generators"]]
    return _reworded(lab, run, f"talked{number}", facts={**run.meta.facts, "generators": said})


def _unlike_arms(lab: Lab, clean: Sequence[StoredRun], number: int) -> Seeded:
    """One setup's run of a repetition, beside another setup's that met the schedule of another seed."""
    ours, theirs = clean[2 * number % len(clean)], clean[(2 * number + 2) % len(clean)]
    results = lab.scratch / f"arms{number}"
    write_machine(results, ours.meta.machine_id, {})
    for run, setup in ((ours, "one"), (theirs, "other")):
        meta = replace(run.meta, setup=setup, repetition=0, run_id=f"{run.meta.run_id}-{setup}")
        with RunWriter(results / ours.meta.machine_id, setup=setup, workload=meta.workload,
                       scenario=meta.scenario) as writer:
            writer.write_requests(run.columns(*COLUMNS))
            writer.finish(replace(meta, run_id=writer.run_id))
    found = analyse(results)
    return Seeded(tuple(check for cell in found.cells for run in cell.runs for check in run.checks))


RECORD_FAULTS: tuple[Fault, ...] = (
    _rows("rows lost", "three rows are missing", ("completeness",), _lost),
    _rows("row doubled", "one row stands twice", ("completeness",), _doubled),
    _rows("sent late", "one request in twenty goes out 5 ms late", ("lag",), _late),
    _rows("rate not reached", "the generator falls behind by 2 %", ("rate", "lag"), _slower),
    _rows("another law of arrivals", "even gaps where Poisson's were asked for", ("arrivals",), _evenly),
    _rows("times damaged", "five answers come before their requests", ("littles_law",), _backwards),
    _rows("all times damaged", "every answer comes in half its time", ("littles_law",), _halved),
    _rows("rows dropped", "every other request has no row", ("littles_law",), _every_other),
    _told("answers read late", "answers lie 3 ms in the kernel", ("receive_lag",), receive_p99_ms=3.0,
          receive_late_moments=9),
    _told("generator too busy", "a generator uses 95 % of its core", ("generator_cpu",), cpu_s=1.9, wall_s=2.0),
    _told("collector pauses", "the garbage collector stops a generator for 30 ms", ("collector_pauses",),
          gc_pauses=1, gc_ms=30.0),
    _told("wall clock stepped", "the wall clock jumps by 2 s", ("wall_clock",), wall_step_ms=2000.0),
    _probed("CPU stolen", "the hypervisor takes a quarter of a CPU", ("stolen",), "server", "cores_stolen_s", 0.25),
    _probed("CPU throttled", "a quota holds processes back for a tenth of the time", ("throttled",), "host",
            "throttled_s", 0.1),
    _probed("swapping", "2 000 pages a second are swapped", ("throttled",), "host", "swapped_pages", 2000.0),
    _probed("short of memory", "tasks wait for memory a third of the time", ("pressure",), "host",
            "pressure_memory_s", 0.33),
    _on_a_gpu("GPU too hot", "heat holds a GPU's clocks down", ("gpu_throttled",), gpu_clock_reasons=64.0),
    _on_a_gpu("GPU shared", "another process is on the GPU", ("gpu_shared",), gpu_strangers=1.0),
    Fault("promise edited", "the latency promise in run.json is made laxer", ("altered",), _promised),
    Fault("generators' word edited", "what the generators said of their CPU is changed in run.json", ("altered",),
          _talked_over),
    Fault("rows edited", "slow answers are made quick in the file", ("altered",), _edited),
    Fault("unlike schedules", "two setups of one repetition meet schedules of two seeds", ("schedule",), _unlike_arms),
)
