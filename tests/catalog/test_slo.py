"""What can be promised, in our words and in k6's, and what is said to a promise that cannot be kept honestly."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog.slo import expression, normal_slo, parse_promise, parse_promises, slo_of

percents = st.decimals("0.1", "99.9", places=1).map(lambda percent: f"{percent.normalize():f}")
numbers = st.decimals("0.01", "9999", places=2).map(lambda number: f"{number.normalize():f}")
shares = st.decimals("0.001", "0.999", places=3).map(lambda share: f"{share.normalize():f}")
spaces = st.sampled_from(["", " ", "  "])
less = st.sampled_from(["<", "<="])


@given(percents, numbers, less, spaces, spaces, st.booleans(), st.booleans())
def test_a_k6_percentile_is_in_milliseconds(percent: str, number: str, sign: str, before: str, after: str,
                                            prefixed: bool, abort: bool) -> None:
    head = "http_req_duration: " if prefixed else ""
    table = slo_of([f"{head}p({percent}){before}{sign}{after}{number}{' abortOnFail' if abort else ''}"])
    (promise,) = parse_promises(table)
    assert promise.metric == "latency"
    assert promise.quantile == pytest.approx(float(percent) / 100)
    assert promise.limit == pytest.approx(float(number) * 1e6)
    assert promise.below
    assert promise.abort is abort
    again = parse_promise(*promise.text.split(" ", 1))
    assert (again.quantile, again.limit, again.text) == (promise.quantile, promise.limit, promise.text)


@given(shares, less, spaces, st.sampled_from(["", "http_req_failed: ", "http_req_failed:"]))
def test_a_k6_rate_is_the_share_of_failures(share: str, sign: str, space: str, head: str) -> None:
    (promise,) = parse_promises(slo_of([f"{head}rate{space}{sign}{space}{share}"]))
    assert (promise.metric, promise.below, promise.limit) == ("errors", True, float(share))


@given(shares)
def test_checks_are_the_other_way_round(share: str) -> None:
    (promise,) = parse_promises(slo_of([f"checks: rate>{share}"]))
    assert promise.metric == "errors"
    assert promise.limit == pytest.approx(1 - float(share))


@given(percents, numbers, spaces, st.booleans())
def test_a_promise_against_the_baseline_is_a_multiple(percent: str, number: str, space: str, behind: bool) -> None:
    bound = f"{number}{space}*{space}baseline" if behind else f"baseline{space}*{space}{number}"
    (promise,) = parse_promises(slo_of([f"p({percent}) < {bound}"]))
    assert promise.relative
    assert promise.limit == float(number)
    assert parse_promise(*promise.text.split(" ", 1)) == promise


@given(st.lists(st.sampled_from(["p(99)<200", "p(99) < baseline * 1.1", "rate<0.01", "goodput > 20", "errors < 2%",
                                 "med<1s abortOnFail"]), max_size=6))
def test_a_table_read_again_is_the_same(expressions: list[str]) -> None:
    table = slo_of(expressions)
    assert normal_slo(table) == table
    assert {promise.text for promise in parse_promises(table)} == {
        parse_promise(*expression(text)).text for text in expressions}


@given(st.text(alphabet=string.ascii_letters + string.digits + "()<>=:*.% ", max_size=30))
def test_any_text_is_a_promise_or_one_sentence(text: str) -> None:
    try:
        table = slo_of([text])
    except ValueError as error:
        assert "\n" not in str(error)
        assert str(error)
    else:
        assert all(promise.limit > 0 for promise in parse_promises(table))


@pytest.mark.parametrize(("text", "said"), [
    ("p95<200", "did you mean 'p(95)'?"),
    ("p(95)>200", "no latency promise"),
    ("p(95)==200", "is no bound"),
    ("p(100)<200", "no percentile that can be promised"),
    ("p(0)<200", "no percentile that can be promised"),
    ("p(99)<0", "neither kept nor broken"),
    ("max<200", "grows with its length"),
    ("http_req_duration: avg<200", "a mean hides the tail"),
    ("count<5", "how long one measures"),
    ("rate>0.01", "promises nothing"),
    ("checks: rate<0.9", "promises nothing"),
    ("http_req_duration: rate<0.01", "is no rate"),
    ("http_req_failed: p(95)<200", "knows only 'rate'"),
    ("http_req_fail: rate<0.01", "did you mean 'http_req_failed'?"),
    ("http_reqs: rate>100", "goodput"),
    ("erors < 1%", "did you mean 'errors'?"),
    ("errors < 100%", "no error promise"),
    ("errors < baseline * 1.1", "against a baseline"),
    ("p(99) > baseline * 1.1", "against a baseline"),
    ("p(99) < baseline * 1.1 abortOnFail", "over pairs of runs"),
    ("p(99) < 10ms abortonfail", "did you mean 'abortOnFail'?"),
    ("p(99) < 10ms abortOnFail after lunch", "is no bound"),
    ("goodput < 5", "no goodput promise"),
    ("quickly", "is no threshold"),
])
def test_what_cannot_be_promised_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        slo_of([text])


def test_k6_tables_become_clauses() -> None:
    assert normal_slo({
        "http_req_duration": ["p(95)<200", {"threshold": "p(99)<1s", "abortOnFail": True}, "med < 50"],
        "http_req_failed": "rate<0.01", "errors": "< 2%", "goodput": "> baseline * 0.95",
    }) == {"p(95)": "< 200", "p(99)": "< 1s abortOnFail", "p(50)": "< 50", "errors": "< 0.01 and < 2%",
           "goodput": "> baseline * 0.95"}


def test_k6_may_delay_its_aborts() -> None:
    """k6's object form in full; read again it is the same."""
    table = normal_slo({
        "http_req_duration": {"threshold": "p(99)<200", "abortOnFail": True, "delayAbortEval": "1m30s"},
        "http_req_failed": [{"threshold": "rate<0.01", "abortOnFail": True, "delayAbortEval": "500ms"},
                            {"threshold": "rate<0.5", "abortOnFail": False, "delayAbortEval": "10s"}]})
    assert table == {"p(99)": "< 200 abortOnFail after 1m30s", "errors": "< 0.01 abortOnFail after 500ms and < 0.5"}
    assert normal_slo(table) == table
    assert [(one.text, one.abort, one.abort_after_s) for one in parse_promises(table)] == [
        ("p(99) < 200ms", True, 90.0), ("errors < 0.01", True, 0.5), ("errors < 0.5", False, 0.0)]


@pytest.mark.parametrize(("table", "said"), [
    ({"http_req_duration{expected_response:true}": "p(95)<200"}, "carry no tags here"),
    ({"http_req_duration": {"threshold": "p(95)<200", "delayAbortEval": 10}}, "is no duration"),
    ({"http_req_duration": {"threshold": "p(95)<200", "delayAbort": "10s"}}, "did you mean 'delayAbortEval'?"),
])
def test_what_k6_says_and_cannot_be_kept_here(table: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        normal_slo(table)
