"""What a team must have and what it weighs, read off what setups tell about themselves."""

import math
import re
from collections.abc import Mapping, Sequence

from harness.catalog.slo import Promise
from harness.catalog.toml import nearest
from harness.decide.bill import Offer
from harness.errors import UsageError

_NO = re.compile(r"(none|no|not|off|false)\b|restart\s*($|[:;,])|one(;| per deployment)|.*, off( here)?\)?$", re.I)
_UNSAID = re.compile(r"(the engine's|the server's|in the proxy in front)\b", re.I)
LATENCY, PARTS = "latency", "moving_parts"


def has(facts: Mapping[str, bool | str], name: str) -> bool | None:
    """Whether a setup has a thing; None where it does not tell, or says that it is up to another ("the engine's", "in
    the proxy in front"). Words mean yes unless they begin with a no ("none built in", "off by default", "restart: …",
    "one; a second …") or end in one ("built in, off")."""
    if name not in facts:
        return None
    told = facts[name]
    if isinstance(told, bool):
        return told
    return None if not told or _UNSAID.match(told) else not _NO.match(told)


def unmet(offer: Offer, musts: Mapping[str, bool]) -> str:
    """The first demand that a setup does not meet, in words; "" where it meets them all."""
    for name, wanted in musts.items():
        told = has(offer.facts, name)
        if told is None:
            said = f", but is {_word(offer.facts[name])}" if offer.facts.get(name) else ""
            return f"{name} must be {_word(wanted)}, and it does not tell{said}"
        if told != wanted:
            return f"{name} must be {_word(wanted)}, and it is {_word(offer.facts[name])}"
    return ""


def _word(fact: bool | str) -> str:
    return f"'{fact}'" if isinstance(fact, str) else "yes" if fact else "no"


def score(offer: Offer, weights: Mapping[str, float], limit_ms: float) -> float:
    """The weighted mean (0–1) of what a team weighs: `latency` is the share of the promised time left at p99,
    `moving_parts` one over the programs to run, anything else a fact of [mlops] that is there (1) or not (0)."""
    if not weights:
        return 0.0
    got = 0.0
    for name, weight in weights.items():
        if name == LATENCY:
            left = 1 - offer.p99_ms.value / limit_ms if math.isfinite(limit_ms) else math.nan
            got += weight * min(max(left, 0.0), 1.0) if math.isfinite(left) else 0.0
        elif name == PARTS:
            got += weight / float(offer.facts.get(PARTS, 1))
        else:
            got += weight * bool(has(offer.facts, name))
    return got / sum(weights.values())


def limit_ms(promises: Sequence[Promise]) -> float:
    """The latency promised to most requests, in ms; infinite where none is."""
    latency = [each for each in promises if each.metric == "latency"]
    return min((each.limit / 1e6 for each in latency if each.quantile == max(one.quantile for one in latency)),
               default=math.inf)


def check_known(flag: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raises UsageError for the first name that is not among those known."""
    for name in names:
        if name not in known:
            raise UsageError(f"{flag} {name}: no setup tells that of itself", nearest(name, list(known)))


def parse_musts(text: str) -> dict[str, bool]:
    """`gpu=no,hot_swap=yes` as a table. Raises UsageError."""
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (each.strip() for each in part.partition("="))
        if value not in ("yes", "no"):
            raise UsageError(f"--must {part}: not understood", "write for example gpu=no,hot_swap=yes")
        found[name] = value == "yes"
    return found


def parse_weights(text: str) -> dict[str, float]:
    """`latency=2,moving_parts=1` as a table. Raises UsageError."""
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = (each.strip() for each in part.partition("="))
        try:
            weight = float(value)
        except ValueError:
            weight = math.nan
        if not 0 < weight < 1e6:
            raise UsageError(f"--weights {part}: not a number above zero", "write for example latency=2,hot_swap=1")
        found[name] = weight
    return found
