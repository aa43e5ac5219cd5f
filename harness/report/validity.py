"""May these figures be trusted? Every accusation against a run, and what was found in order."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analyse.model import Analysis, Cell, Check, RunSummary
from harness.report.words import clean, escaped, figure, listed

RANK = {"invalid": 0, "warning": 1, "note": 2}
BLAME = {"generator": "the generator", "setup": "the setup", "host": "the machine", "harness": "the harness", "": "–"}


@dataclass(frozen=True)
class Accusation:
    """One check that found something in runs of one cell: in which repetitions, and the words of the gravest one."""

    where: str
    repetitions: str
    check: Check


def conclusion(analysis: Analysis) -> str:
    """How many runs may be trusted, which may not, and whom to blame."""
    runs = [(cell, run) for cell in analysis.cells for run in cell.runs]
    sound = sum(run.valid for _, run in runs)
    quiet = sum(run.valid and all(check.severity == "ok" for check in run.checks) for _, run in runs)
    made = sum(len(run.checks) for _, run in runs)
    if not runs:
        return "~ No run left rows, so there is nothing to check."
    lead = f"All {len(runs)} runs are valid" if sound == len(runs) else \
        f"{sound} of {len(runs)} runs are valid; the others are kept on disk and count in no figure of a valid cell"
    blamed = dict.fromkeys(BLAME[check.blames] for _, run in runs for check in run.checks
                           if check.severity == "invalid" and check.blames)
    blame = f" What spoilt them is due to {listed(list(blamed))}." if blamed else ""
    return f"{lead}: {made:,} checks were made, and {quiet or 'none'} of the runs passed all without a remark.{blame}"


def accusations(analysis: Analysis) -> tuple[Accusation, ...]:
    """Every check that is not ok, gathered by cell and code, the gravest first."""
    found = [each for cell in analysis.cells for each in _of(cell)]
    return tuple(sorted(found, key=lambda each: RANK[each.check.severity]))


def html(analysis: Analysis) -> str:
    """The accusations as tables: what is invalid or a warning in full, notes behind a fold."""
    found = accusations(analysis)
    grave = [each for each in found if each.check.severity != "note"]
    notes = [each for each in found if each.check.severity == "note"]
    said = f"<p class='conclusion'>{escaped(conclusion(analysis))}</p>{_table(grave)}"
    if notes:
        said += f"<details><summary>{len(notes)} remarks that change no verdict</summary>{_table(notes)}</details>"
    return said + _ended(analysis)


def _of(cell: Cell) -> list[Accusation]:
    found = []
    for code in dict.fromkeys(check.code for run in cell.runs for check in run.checks):
        accused = [(run, check) for run in cell.runs for check in run.checks
                   if check.code == code and check.severity != "ok"]
        if accused:
            gravest = min((check for _, check in accused), key=lambda check: RANK[check.severity])
            load = "" if cell.load == 1 else f" ×{figure(cell.load)}"
            found.append(Accusation(clean(f"{cell.setup} · {cell.workload} · {cell.scenario}{load}"),
                                    _repetitions([run for run, _ in accused], cell), gravest))
    return found


def _repetitions(accused: Sequence[RunSummary], cell: Cell) -> str:
    if len(accused) == len(cell.runs):
        return "every run" if len(cell.runs) > 1 else f"r{accused[0].repetition}"
    return ", ".join(f"r{run.repetition}" for run in accused)


def _table(found: Sequence[Accusation]) -> str:
    if not found:
        return ""
    rows = "".join(
        f"<tr><td class='{each.check.severity}'>{escaped(each.check.severity)}</td><td>{escaped(each.where)}</td>"
        f"<td>{escaped(each.repetitions)}</td><td>{escaped(each.check.message)}"
        f"{f'<br><span class=hint>{escaped(each.check.hint)}</span>' if each.check.hint else ''}</td>"
        f"<td>{escaped(BLAME[each.check.blames])}</td></tr>" for each in found)
    head = "".join(f"<th scope='col'>{name}</th>"
                   for name in ("severity", "where", "runs", "what was seen, and what to try", "blames"))
    return (f"<div class='scroll'><table class='checks'><thead><tr>{head}</tr></thead>"
            f"<tbody>{rows}</tbody></table></div>")


def _ended(analysis: Analysis) -> str:
    """Attempts that did not end well, with their reasons."""
    ended = [(f"{cell.setup} · {cell.workload} r{run.repetition}", run.status, run.reason)
             for cell in analysis.cells for run in cell.runs if run.status != "ok"]
    ended += [(name, word, why) for word, table in (("failed", analysis.failed), ("skipped", analysis.skipped))
              for name, why in table.items()]
    if not ended:
        return ""
    rows = "".join(f"<li>{escaped(name)} <b>{escaped(status)}</b>: {escaped(why)}</li>" for name, status, why in ended)
    return f"<p>Attempts that left no measurement:</p><ul>{rows}</ul>"
