"""Numbers and foreign text as a reader sees them: short, with units, and harmless."""

import html
import math
import re
from collections.abc import Mapping, Sequence

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
                      r"|[\ufffe\uffff\ud800-\udfff]")
_UNIT = re.compile(r"(\d) (ms|µs|s|%|×)(?![\w])")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#~!$])")


def clean(text: object) -> str:
    """`text` on one line without terminal escapes, control and direction characters (XML forbids most of them)."""
    return " ".join(_CONTROL.sub("", str(text).replace("\r", " ").replace("\t", " ")).split())


def escaped(text: object) -> str:
    """`text` as HTML text or attribute value; a figure and its unit stay on one line."""
    return _UNIT.sub("\\1\u00a0\\2", html.escape(clean(text), quote=True))


def markdown_escaped(text: object) -> str:
    """`text` as Markdown prose or table cell that no renderer takes for markup."""
    return _MARKDOWN.sub(r"\\\1", clean(text))


def figure(value: float, digits: int = 3) -> str:
    """Three significant digits without an exponent; ∞ for an infinite value and – for none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    return f"{rounded:,.{min(decimals, 6)}f}"


def milliseconds(ms: float) -> str:
    """A duration with the unit that fits it."""
    if math.isfinite(ms) and abs(ms) >= 1000:
        return f"{figure(ms / 1000)} s"
    if math.isfinite(ms) and 0 < abs(ms) < 0.1:
        return f"{figure(ms * 1000)} µs"
    return f"{figure(ms)} ms" if math.isfinite(ms) else figure(ms)


def percent(share: float) -> str:
    """A share (0–1) as a percentage; what is above none never reads as 0 %, what is below all never as 100 %."""
    if math.isnan(share):
        return "–"
    if 0 < share < 0.00005:
        return "< 0.01 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{figure(100 * share, 2 if share < 0.1 else 3)} %"


def times(ratio: float) -> str:
    """A ratio as a reader says it: 2.1×."""
    return f"{figure(ratio, 2 if ratio < 10 else 3)}×"


def listed(names: Sequence[str], word: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def verb(names: Sequence[str], one: str, many: str) -> str:
    """The names with the verb that fits their number."""
    return f"{listed(names)} {one if len(names) == 1 else many}"


def portable(text: str, places: Mapping[str, str]) -> str:
    """`text` with each folder replaced by the word that stands for it, the longest one first; "/" is left alone."""
    for place in sorted((place for place in places if len(place) > 1), key=len, reverse=True):
        text = re.sub(re.escape(place) + r"(?![\w.-])", places[place].replace("\\", r"\\"), text)
    return text
