"""Numbers keep their meaning when shortened, and foreign text becomes harmless."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.words import clean, escaped, figure, listed, markdown_escaped, milliseconds, percent, portable


@pytest.mark.parametrize(("value", "said"), [
    (0.0, "0"), (0.04567, "0.0457"), (12.34, "12.3"), (999.6, "1,000"), (123456.0, "123,456"), (math.nan, "–"),
    (math.inf, "∞")])
def test_a_figure_has_three_digits(value: float, said: str) -> None:
    assert figure(value) == said


@given(st.floats(1e-4, 1e6))
def test_a_figure_is_never_off_by_more_than_its_digits(value: float) -> None:
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


def test_small_and_large_durations_change_their_unit() -> None:
    assert [milliseconds(ms) for ms in (0.042, 4.2, 4200.0, math.inf)] == ["42.0 µs", "4.20 ms", "4.20 s", "∞"]


def test_few_failures_never_read_as_none_and_many_never_as_all() -> None:
    assert percent(0.00001) == "< 0.01 %"
    assert percent(0.99999) == "> 99.9 %"
    assert percent(0.0) == "0 %"


@given(st.text())
def test_any_text_becomes_valid_html_and_xml(text: str) -> None:
    parsed = ElementTree.fromstring(f"<p title='{escaped(text)}'>{escaped(text)}</p>")
    assert list(parsed) == []


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    assert clean(text) == "".join(c for c in clean(text) if c.isprintable() or c in "\u00ad\u200b" or ord(c) > 0xff)


def test_terminal_escapes_vanish() -> None:
    assert clean("\x1b[31mred\x1b[0m\x07 and\nmore") == "red and more"


def test_markdown_markup_is_escaped() -> None:
    assert markdown_escaped("a|b <img> [x](y)") == r"a\|b \<img\> \[x\](y)"


def test_lists_read_as_prose() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_folders_are_replaced_whole_and_longest_first() -> None:
    places = {"/made/up": "~", "/made/up/results": "results", "/": "root"}
    assert portable("/made/up/results/x /made/up/y /made/updian /z", places) == "results/x ~/y /made/updian /z"
