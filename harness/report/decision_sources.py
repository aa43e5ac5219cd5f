"""What the sentences of a decision record rest on: runs, prices, the demand, and what else was given."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.decide.bill import GIVEN, Bill
from harness.errors import TailraceError
from harness.report.words import listed, markdown_escaped

DEMAND, QUESTION = "D", "G"
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class Sources:
    """Says a sentence with the labels of what it rests on, where it has a figure.

    `runs` has the run ids of every setup, `bills` those that are priced. A setup's runs have the label E and its price
    P, each with the setup's number by name; D is the demand, G whatever else was given.
    """

    runs: Mapping[str, Sequence[str]]
    bills: Mapping[str, Bill]

    def told(self, text: str, labels: Iterable[str]) -> str:
        """The sentence with the labels of where its figures stand as they are."""
        plain = markdown_escaped(text)
        return f"{plain} {' '.join(_shown(labels))}" if _DIGIT.search(plain) else plain

    def computed(self, text: str, labels: Iterable[str]) -> str:
        """The sentence with the labels of what its figures were computed from."""
        plain = markdown_escaped(text)
        return f"{plain.rstrip('.')}. Computed from {listed(_shown(labels))}." if _DIGIT.search(plain) else plain

    def measured(self, *names: str) -> list[str]:
        """The labels of the setups' runs. Raises TailraceError for a setup that has none."""
        for name in names:
            if not self.runs.get(name):
                raise TailraceError(f"no run stands behind what is said of {name}",
                                    "a record needs measured setups: leave --carries out and measure")
        return [f"E{self.number(name)}" for name in names]

    def carried(self, *names: str) -> list[str]:
        """The labels of what the setups are said to carry: their runs, or that it was given. Raises TailraceError for a
        setup without runs all the same."""
        found = zip(names, self.measured(*names), strict=True)
        return [QUESTION if name in self.bills and self.bills[name].offer.source == GIVEN else label
                for name, label in found]

    def priced(self, *names: str) -> list[str]:
        """The labels of the setups' prices."""
        return [f"P{self.number(name)}" for name in names]

    def billed(self, *names: str) -> list[str]:
        """The labels of all that the setups' bills are computed from. Raises TailraceError as `carried`."""
        return [*self.carried(*names), *self.priced(*names), DEMAND, QUESTION]

    def number(self, name: str) -> int:
        """The setup's number, from 1, by name."""
        return sorted(self.runs).index(name) + 1

    def assumed(self, line: str, setup: str) -> str:
        """One of the assumptions of a setup's bill."""
        if line == self.bills[setup].offer.measured_on:
            return self.told(line, [*self.measured(setup), *self.priced(setup)])
        if line.startswith("One replica of "):
            return self.computed(line, self.carried(setup))
        if line.startswith("$"):
            return self.told(line, self.priced(setup))
        return self.told(line, [DEMAND if line.startswith("Demand ") else QUESTION])


def _shown(labels: Iterable[str]) -> list[str]:
    return [f"\\[{label}\\]" for label in dict.fromkeys(labels)]
