"""A setup in front of another: what the one behind it is, and which knobs it has."""

from pathlib import Path

import pytest

from harness.catalog.discover import find_catalog
from harness.errors import TailraceError
from harness.run.launch import engine_knobs


def test_the_engine_behind_it_has_the_knobs_it_is_given() -> None:
    setup = find_catalog(Path(__file__).resolve().parents[2]).setup("gateway")
    front = setup.with_knobs({"engine": "remote", "engine_knobs": "url=http://127.0.0.1:1/x protocol=oip-http"})
    assert (front.unnamed, front.parts[1].codec.name) == ("", "oip-http")
    assert engine_knobs(front, 3, "cpu")["timeout_s"] == 60
    assert engine_knobs(setup.with_knobs({"engine_knobs": "workers=2"}), 3, "cpu")["workers"] == 2
    asks = setup.with_knobs({"engine": "remote"}).unnamed
    assert asks == "remote asks for its knob: --knob gateway.engine_knobs=url=…"
    with pytest.raises(TailraceError, match="'wrkers=2' is not like name=value; knobs of fastapi: workers"):
        _ = setup.with_knobs({"engine_knobs": "wrkers=2"}).parts
