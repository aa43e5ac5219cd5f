"""The executed notebook as one page that needs nothing but itself: no script, no network, no file beside it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.words import escaped

STYLE = Path(__file__).with_name("page.css")
TEMPLATE = Path(__file__).with_name("page.html.jinja")
SHOWN = ("text/html", "image/svg+xml", "text/plain")


def page(notebook: Mapping[str, Any], title: str) -> str:
    """The page. HTML that the notebook shows is taken as it is (it was escaped where it was made, and the page's own
    policy lets no script run); every other text is escaped here."""
    import jinja2  # noqa: PLC0415 -- only a report needs it
    import nbconvert.filters  # noqa: PLC0415
    from markupsafe import Markup  # noqa: PLC0415

    parts, sources = [], []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(_prose(nbconvert.filters.markdown2html(cell["source"])))
        elif cell["cell_type"] == "code":
            sources.append(cell["source"])
            parts += [_output(output) for output in cell["outputs"]]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=title, style=Markup(STYLE.read_text(encoding="utf-8")),  # noqa: S704 -- our own file
        body=Markup("\n".join(parts)),  # noqa: S704 -- escaped above
        source="\n\n".join(sources))


def rendered(markdown: str) -> str:
    """A document's Markdown (YAML front matter shown as code) as a part of the page: its headings two levels lower, its
    links as their text, for what they lead to lies elsewhere, and HTML in it as text."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath  # noqa: PLC0415

    shown = re.sub(r"\A---\n(.*?)\n---\n", r"```\n\1\n```\n", re.sub(r"(?m)^```\w+$", "```", markdown), flags=re.S)
    made = MarkdownWithMath(renderer=IPythonRenderer(escape=True, exclude_anchor_links=True)).render(shown)
    made = re.sub(r"</?(?:a|img)\b[^>]*>", "", made)
    made = re.sub(r"<(/?)h([1-4])\b[^>]*>", lambda tag: f"<{tag[1]}h{int(tag[2]) + 2}>", made)
    return f"<div class='record'>{made}</div>"


def _prose(made: str) -> str:
    """Rendered Markdown without the marks that link a heading to itself."""
    return re.sub(r'<a class="anchor-link".*?</a>', "", made)


def _output(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"<pre>{_lines(output['text'])}</pre>"
    data = output.get("data", {})
    kind = next((each for each in SHOWN if each in data), "")
    if kind == "image/svg+xml":
        return f"<figure>{_inline(data[kind])}</figure>"
    return str(data[kind]) if kind == "text/html" else f"<pre>{_lines(data.get(kind, ''))}</pre>"


def _inline(svg: str) -> str:
    """The SVG as an element of the page: name spaces are implied there, and references need no prefix."""
    return re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")


def _lines(text: str) -> str:
    return "\n".join(escaped(line) for line in str(text).splitlines())
