"""Bad TOML gets one sentence: what, where, what to try."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.catalog.discover import Catalog, find_catalog
from harness.catalog.scenario import Scenario, Stage, read_scenario
from harness.catalog.setup import Setup, read_setup
from harness.catalog.slo import parse_promise
from harness.catalog.toml import validate
from harness.catalog.workload import read_workload
from harness.errors import Exit, TailraceError, UsageError

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
title = "t"
question = "q"
seed = 1
[[stage]]
arrivals = "poisson"
rate = 10
duration_s = 1
[slo]
"p(99)" = "< 100ms"
"""


def scenario(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return read_scenario(path)


def test_a_good_scenario(tmp_path: Path) -> None:
    read = scenario(tmp_path, GOOD)
    assert read.name == "s"
    assert read.stage[0].rate == 10
    assert read.promises[0].limit == 100e6
    assert read.promises[0].quantile == 0.99


@pytest.mark.parametrize(("old", "new", "expected"), [
    ('"p(99)" = "< 100ms"', '"p(99)" = {threshold = "< 1ms", abort = true}', "did you mean 'abortOnFail'?"),
    ('"p(99)" = "< 100ms"', 'http_req_duration = "avg<10"', "a mean hides the tail"),
    ("seed = 1", "sead = 1", "s.toml: unknown key 'sead'; did you mean 'seed'?"),
    ("rate = 10", "raet = 10", "unknown key 'raet' in [stage.0]; did you mean 'rate'?"),
    ("rate = 10", "rate = 'ten'", "'rate' in [stage.0] is 'ten'"),
    ("rate = 10", "rate = -1", "'rate' in [stage.0] is -1"),
    ("rate = 10", "", "either `rate` or `rate_per_core`"),
    ("rate = 10", "rate = 10\nusers = 3", "only a closed stage has `users`"),
    ("duration_s = 1", "", "key 'duration_s' is missing in [stage.0]"),
    ("duration_s = 1", "duration_s = 1e9", "'duration_s' in [stage.0]"),
    ('arrivals = "poisson"', 'arrivals = "poison"', "'arrivals' in [stage.0] is 'poison'"),
    ('"< 100ms"', '"100"', "is no bound"),
    ('"p(99)"', '"p99"', "unknown promise 'p99'"),
    ("seed = 1", "seed =", "not valid TOML"),
    ("seed = 1", "seed = 1\nname = 'x'", "key 'name' is not to be set"),
])
def test_bad_scenarios_say_what_where_and_what_to_try(tmp_path: Path, old: str, new: str, expected: str) -> None:
    with pytest.raises(TailraceError) as caught:
        scenario(tmp_path, GOOD.replace(old, new))
    assert expected in str(caught.value)
    assert "s.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == Exit.BAD_CONFIGURATION


def test_unknown_key_of_a_setup_names_the_nearest(tmp_path: Path) -> None:
    folder = tmp_path / "fastapi"
    folder.mkdir()
    (folder / "setup.toml").write_text(
        'title="t"\nidea="i"\ntier="basic"\nengine="e"\ncommand=["x"]\nredy="/x"\n')
    with pytest.raises(TailraceError, match=r"unknown key 'redy'; did you mean 'ready'\?"):
        read_setup(folder)


def test_a_knob_that_names_a_server_elsewhere_lifts_the_need_of_programs(tmp_path: Path) -> None:
    text = ('title="t"\nidea="i"\ntier="basic"\nengine="e"\ncommand=["x"]\n[knobs]\nurl=""\n'
            '[needs]\nprograms=["broker"]\nmemory_gb=1\nunless="url"\n')
    (tmp_path / "setup.toml").write_text(text)
    setup = read_setup(tmp_path)
    assert setup.needed == setup.needs
    elsewhere = setup.with_knobs({"url": "redis://broker"}).needed
    assert (elsewhere.programs, elsewhere.memory_gb) == ((), 1)
    (tmp_path / "setup.toml").write_text(text.replace('unless="url"', 'unless="ulr"'))
    with pytest.raises(TailraceError, match=r"\[needs\] names 'ulr', which is no knob; did you mean 'url'"):
        read_setup(tmp_path)


def test_a_value_of_a_knob_may_need_other_things(tmp_path: Path) -> None:
    text = ('title="t"\nidea="i"\ntier="basic"\nengine="e"\ncommand=["x"]\n[knobs]\nboxed=false\n'
            '[needs]\njava=true\nmemory_gb=1\n[needs.when.boxed.true]\njava=false\nprograms=["box"]\n')
    (tmp_path / "setup.toml").write_text(text)
    setup = read_setup(tmp_path)
    assert (setup.needed.java, setup.needed.programs) == (True, ())
    boxed = setup.with_knobs({"boxed": True}).needed
    assert (boxed.java, boxed.programs, boxed.memory_gb) == (False, ("box",), 1)
    (tmp_path / "setup.toml").write_text(text.replace("when.boxed", "when.boxd"))
    with pytest.raises(TailraceError, match=r"\[needs\] names 'boxd', which is no knob; did you mean 'boxed'"):
        read_setup(tmp_path)


@pytest.mark.parametrize(("line", "said"), [
    ('devices = ["tpu"]', "workload.toml: '0' in [devices] is 'tpu': Input should be 'cpu' or 'gpu'"),
    ("devices = []", "workload.toml: 'devices' is list: Tuple should have at least 1 item"),
    ('shares = ["acelerator"]', "shares names 'acelerator', which is no folder beside mine"),
])
def test_devices_and_shared_folders_of_a_workload_must_be_there(tmp_path: Path, line: str, said: str) -> None:
    folder, shared = tmp_path / "mine", tmp_path / "accelerator"
    folder.mkdir()
    shared.mkdir()
    text = 'title="t"\nidea="i"\nmodality="text"\n'
    (folder / "workload.toml").write_text(f"{text}{line}\n")
    with pytest.raises(TailraceError) as caught:
        read_workload(folder)
    assert said in str(caught.value)
    (folder / "workload.toml").write_text(f'{text}shares = ["accelerator"]\n')
    made = read_workload(folder)
    assert made.devices == ("cpu",)
    assert made.code == (folder, shared)
    assert made.imports == (folder, tmp_path)


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "setups" / "flask").mkdir(parents=True)
    (tmp_path / "setups" / "flask" / "setup.toml").write_text("")
    with pytest.raises(UsageError, match="unknown setup 'flsk'; did you mean 'flask'"):
        Catalog(tmp_path).setup("flsk")


def test_every_setup_has_a_lock_of_its_own_with_hashes_and_no_index() -> None:
    catalog = Catalog(ROOT)
    for setup in map(catalog.setup, catalog.setup_names()):
        assert setup.lock == setup.folder / "requirements.txt", setup.name
        assert setup.lock.with_suffix(".in").is_file(), setup.name
        text = setup.lock.read_text("utf-8")
        assert text.count("--hash=sha256:") >= text.count("==") > 0, setup.name
        assert "://" not in text, setup.name


def test_everything_in_the_tree_can_be_read() -> None:
    catalog = Catalog(ROOT)
    for name in catalog.scenario_names():
        catalog.scenario(name)
    for name in catalog.plan_names():
        catalog.plan(name)
    for name in catalog.setup_names():
        assert catalog.setup(name).lock.is_file()
    for name in catalog.workload_names():
        assert catalog.workload(name).lock.is_file()
    assert find_catalog(ROOT / "tests").root == ROOT


@given(st.text(max_size=30), st.text(max_size=30))
def test_promise_parser_never_crashes(metric: str, bound: str) -> None:
    try:
        promise = parse_promise(metric, bound)
    except ValueError as error:
        assert str(error)
    else:
        assert promise.limit >= 0


@given(st.sampled_from([50, 90, 95, 99, 99.9]), st.integers(1, 10_000), st.sampled_from(["us", "ms", "s"]))
def test_latency_promises_keep_their_units(percent: float, number: int, unit: str) -> None:
    promise = parse_promise(f"p({percent})", f"<{number}{unit}")
    assert promise.limit == number * {"us": 1e3, "ms": 1e6, "s": 1e9}[unit]
    assert promise.quantile == pytest.approx(percent / 100)


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(max_size=5),
                                                       st.lists(st.integers(), max_size=2)), max_size=4))
def test_any_table_is_a_stage_or_one_sentence(table: dict[str, object]) -> None:
    try:
        validate(Stage, table, "here")
    except TailraceError as error:
        assert str(error).startswith("here")
        assert error.hint


def test_rates_per_core_follow_the_cores() -> None:
    stage = Stage(arrivals="poisson", rate_per_core=80, rate_end_per_core=160, duration_s=1)
    read = stage.resolved(3, 0.5)
    assert (read.rate, read.rate_end, read.rate_per_core) == (120, 240, None)


SETUP = """
title = "t"
idea = "i"
tier = "basic"
engine = "e"
command = ["x"]
"""


def setup(tmp_path: Path, text: str) -> Setup:
    (tmp_path / "setup.toml").write_text(SETUP + text)
    return read_setup(tmp_path)


@pytest.mark.parametrize(("text", "predict", "ready"), [
    ("", "/predict", "/healthz"),
    ('protocol = "sagemaker"', "/invocations", "/ping"),
    ('protocol = "oip-http"\nready = "/up"', "/v2/models/model/infer", "/up"),
    ('protocol = "{wire}"\n[knobs]\nwire = "torchserve"', "/predictions/model", "/ping"),
])
def test_a_setup_s_routes_follow_its_protocol(tmp_path: Path, text: str, predict: str, ready: str) -> None:
    read = setup(tmp_path, text)
    assert (read.predict, read.ready) == (predict, ready)


def test_a_knob_may_choose_the_protocol(tmp_path: Path) -> None:
    read = setup(tmp_path, 'protocol = "{wire}"\nready = "/up"\n[knobs]\nwire = "torchserve"\n')
    other = read.with_knobs({"wire": "vertex"})
    assert (other.codec.name, other.predict, other.ready) == ("vertex", "/predict", "/up")
    with pytest.raises(TailraceError, match="'vertx' is not known; did you mean 'vertex'"):
        read.with_knobs({"wire": "vertx"})


@pytest.mark.parametrize("text", ['protocol = "oip-htp"', 'protocol = "{wire}"\n[knobs]\nwire = "oip-htp"'])
def test_an_unknown_protocol_names_the_nearest(tmp_path: Path, text: str) -> None:
    with pytest.raises(TailraceError, match=r"setup.toml: the protocol 'oip-htp' is not known; did you mean 'oip-h"):
        setup(tmp_path, text)
