"""The report as Markdown, for a pull request or a chat."""

from harness.analyse.model import Analysis
from harness.report import captions, gpu, method, tables, upkeep, validity
from harness.report.select import climbs, typical
from harness.report.words import listed, markdown_escaped


def markdown(analysis: Analysis) -> str:
    """Question, finding, tables, what the figures conclude, whether to trust them, what it costs."""
    question = f"*{markdown_escaped(analysis.question)}*" if analysis.question else ""
    parts = [f"# {markdown_escaped(analysis.title)}", question,
             markdown_escaped(analysis.sentence), "## Comparison", tables.markdown(analysis), "## What the figures say",
             *_conclusions(analysis), *gpu.markdown(analysis), *upkeep.markdown(analysis), "## Validity",
             markdown_escaped(validity.conclusion(analysis)), *_accusations(analysis), *_costs(analysis)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _conclusions(analysis: Analysis) -> list[str]:
    said = []
    for match in typical(analysis):
        lines = (("Tails", captions.tails(match)), ("Time", captions.parts(match)),
                 ("Batches", captions.batches(match)))
        said.append(f"**{markdown_escaped(match.title)}**\n\n"
                    + "\n".join(f"- {name}: {markdown_escaped(text)}" for name, text in lines))
    said += [f"- More load: {markdown_escaped(captions.loads(climb))}" for climb in climbs(analysis)]
    return said


def _accusations(analysis: Analysis) -> list[str]:
    grave = [each for each in validity.accusations(analysis) if each.check.severity != "note"]
    lines = [f"- **{each.check.severity}** {markdown_escaped(each.where)} ({each.repetitions}): "
             f"{markdown_escaped(each.check.message)}" for each in grave]
    return ["\n".join(lines)] if lines else []


def _costs(analysis: Analysis) -> list[str]:
    costs = [cell.cost for cell in analysis.cells if cell.cost]
    if not costs:
        return []
    kinds = list(dict.fromkeys(f"{cost.instance} (prices of {cost.price_date})" for cost in costs))
    shared, single = method.assumptions(costs)
    return ["## Cost", f"Priced as {markdown_escaped(listed(kinds))}. Assumed:",
            "\n".join(f"- {markdown_escaped(line)}" for line in shared),
            "<details><summary>Assumed for each setup and load</summary>\n",
            "\n".join(f"- {markdown_escaped(line)}" for line in single), "</details>"]
