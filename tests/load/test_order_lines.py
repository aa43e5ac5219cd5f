"""Orders are the same, whatever the pieces they come in."""

from hypothesis import given
from hypothesis import strategies as st

from harness.load.order_lines import OrderLines

ORDERS = st.lists(st.none() | st.integers(0, 2**62), max_size=6)


@given(ORDERS, st.data())
def test_orders_come_out_as_they_went_in(orders: list[int | None], data: st.DataObject) -> None:
    text = b"".join(b"stop\n" if order is None else b"go %d\n" % order for order in orders)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(text) - 1, 1)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if text[a:b]]
    lines = OrderLines()
    assert [order for piece in pieces for order in lines.feed(piece)] == orders


def test_the_end_of_input_stops_and_nonsense_does_not() -> None:
    lines = OrderLines()
    assert list(lines.feed(b"dance\ngo soon\n")) == []
    assert list(lines.feed(b"")) == [None]
