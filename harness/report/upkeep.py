"""What setups take to run and to keep, and which points of their contract they keep: the tables of a report."""

import math
from collections.abc import Mapping, Sequence

from harness.analyse.model import Analysis, Contract, Upkeep
from harness.report.words import clean, escaped, figure, listed, markdown_escaped, verb

Row = tuple[str, ...]
_NO_CHECK = "No setup was checked here: `tailrace check` proves their contracts, and the report shows what it saw."


def broken_contracts(contracts: Sequence[Contract], workload: str) -> dict[str, tuple[str, ...]]:
    """Setup, as it is shown, -> the codes of the points it fails with that workload; only who fails some."""
    return {clean(each.setup): tuple(each.failed) for each in contracts if each.failed and each.workload == workload}


def contract_notes(broken: Mapping[str, Sequence[str]]) -> list[str]:
    """The notes that a mark stands for, one for all setups that fail the same points."""
    notes = []
    for codes in dict.fromkeys(tuple(codes) for codes in broken.values()):
        names = [name for name, theirs in broken.items() if tuple(theirs) == codes]
        points = listed([clean(code) for code in codes])
        notes.append(f"† {verb(names, 'does', 'do')} not keep {points} of the contract.")
    return notes


def contract_conclusion(contracts: Sequence[Contract]) -> str:
    """How many setups keep every point, and who does not."""
    if not contracts:
        return _NO_CHECK
    broken = list(dict.fromkeys(clean(each.setup) for each in contracts if each.failed))
    kept = [name for name in dict.fromkeys(clean(each.setup) for each in contracts) if name not in broken]
    said = f"{listed(kept)} {'keeps' if len(kept) == 1 else 'keep'} every point that was asked." if kept else ""
    return f"{said} Not so: {listed(broken)}.".strip() if broken else said


def contract_rows(contracts: Sequence[Contract]) -> list[Row]:
    """Setup, workloads, points kept of those asked, what is not kept, and when that was seen; workloads with which a
    setup keeps the same stand in one row, with what was seen with the first. The heads come first."""
    alike: dict[tuple[object, ...], list[Contract]] = {}
    for each in contracts:
        alike.setdefault((each.setup, each.kept, tuple(each.failed), len(each.asked), each.current), []).append(each)
    rows: list[Row] = [("setup", "workloads", "kept", "what is not kept", "checked")]
    for group in alike.values():
        first = group[0]
        asked = len(first.asked) - len(first.skipped)
        failed = "; ".join(f"{code}: {message}" for code, message in first.failed.items())
        if not asked:
            failed = f"not checked: {'; '.join(first.skipped.values())}"
        date = max(each.checked_utc[:10] for each in group) + ("" if first.current else ", with other code than ran")
        rows.append((first.setup, ", ".join(each.workload for each in group), f"{first.kept} of {asked}", failed, date))
    return [tuple(clean(cell) for cell in row) for row in rows]


def contract_html(analysis: Analysis) -> str:
    """The conclusion, the table, and every point asked."""
    said = f"<p class='conclusion'>{escaped(contract_conclusion(analysis.contracts))}</p>"
    if not analysis.contracts:
        return said
    asked = list(dict.fromkeys(code for each in analysis.contracts for code in each.asked))
    table = _html(contract_rows(analysis.contracts), "contract")
    return f"{said}{table}<p class='notes'>Asked: {escaped(', '.join(asked))}.</p>"


def upkeep_rows(kept: Sequence[Upkeep]) -> list[Row]:
    """What is measured and counted, a row per setup; with the heads first."""
    workloads = list(dict.fromkeys(name for each in kept for name in each.memory_mb))
    rows: list[Row] = [("setup", *(f"{clean(name)}: memory (MB)" for name in workloads), "start (s)", "on disk (MB)",
                        "lines", "processes", "made of")]
    for each in kept:
        memory = [figure(each.memory_mb.get(name, math.nan)) for name in workloads]
        parts = ", ".join(f"{count} {kind}" for kind, count in each.processes.items())
        made = ", ".join(f"{name} {version}" for name, version in each.versions.items())
        rows.append((each.setup, *memory, _span(each.start_s), figure(each.environment_mb),
                     f"{each.code_lines:,}" if each.code_lines else "–",
                     f"{sum(each.processes.values())}: {parts}" if parts else "–", made or "–"))
    return [tuple(clean(cell) for cell in row) for row in rows]


def mlops_rows(kept: Sequence[Upkeep]) -> list[Row]:
    """What setup.toml says of integrating each setup, a row per setup; with the heads first."""
    topics = list(dict.fromkeys(topic for each in kept for topic in each.mlops))
    rows = [("setup", *(topic.replace("_", " ") for topic in topics))]
    rows += [(each.setup, *(_word(each.mlops.get(topic)) for topic in topics)) for each in kept if each.mlops]
    return [tuple(clean(cell) for cell in row) for row in rows] if topics else []


def limit_rows(kept: Sequence[Upkeep]) -> list[Row]:
    """What setup.toml owns up to, a row per setup and limit; with the heads first."""
    rows: list[Row] = [("setup", "limit", "what the engine or this setup of it cannot do")]
    for each in kept:
        rows += [(each.setup, topic.replace("_", " "), why) for topic, why in each.limits.items()]
    return [tuple(clean(cell) for cell in row) for row in rows] if len(rows) > 1 else []


def upkeep_html(analysis: Analysis) -> str:
    """What is measured, what integrating means, what is not to be had, and how figures are counted."""
    kept = analysis.upkeep
    notes = ("<ul class='notes'><li>Memory: proportional set size of all processes after the load, a shared page "
             "counted once.</li><li>Start: from the command to the first right answer.</li><li>Lines: what is written, "
             "neither blank nor comments, shared folders included, locks not.</li></ul>")
    more = (("What integrating it means", mlops_rows(kept)), ("What it cannot do", limit_rows(kept)))
    return _html(upkeep_rows(kept)) + notes + "".join(f"<h3>{head}</h3>{_html(rows)}" for head, rows in more if rows)


def markdown(analysis: Analysis) -> list[str]:
    """The same for a pull request: contracts, what is measured and counted, and what is not to be had."""
    rows = contract_rows(analysis.contracts)
    parts = [markdown_escaped(contract_conclusion(analysis.contracts)), *([_table(rows)] if len(rows) > 1 else [])]
    return ["## Contracts", *parts, "## Upkeep", _table(upkeep_rows(analysis.upkeep)),
            *([_table(limits)] if (limits := limit_rows(analysis.upkeep)) else [])]


def _span(seconds: Mapping[str, float]) -> str:
    """The seconds of all workloads as one figure, or as least–most."""
    known = [value for value in seconds.values() if math.isfinite(value)]
    if not known:
        return "–"
    low, high = figure(min(known), 2), figure(max(known), 2)
    return low if low == high else f"{low}–{high}"


def _word(value: object) -> str:
    if value is None:
        return "–"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _html(rows: Sequence[Row], kind: str = "upkeep") -> str:
    head = "".join(f"<th scope='col'>{escaped(cell)}</th>" for cell in rows[0])
    cells = [(row[0], "".join(f"<td>{escaped(cell)}</td>" for cell in row[1:])) for row in rows[1:]]
    body = "".join(f"<tr><th scope='row'>{escaped(name)}</th>{rest}</tr>" for name, rest in cells)
    return (f"<div class='scroll'><table class='checks {kind}'><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>")


def _table(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(markdown_escaped(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
