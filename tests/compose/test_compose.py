"""Compose files and the dashboard, as far as they can be checked without a Docker daemon."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from harness.catalog.discover import find_catalog

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose"
FILES = sorted(COMPOSE.glob("*.yaml"))
# The Compose Specification's own schema, as docker-compose 1.29.2 carries it (Apache-2.0).
SCHEMA = json.loads(Path(__file__).with_name("compose_spec.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft201909Validator(SCHEMA)
NEWER = {"name"}  # in the specification since 2022
LOOPBACK = re.compile(r"^127\.0\.0\.1:(?:\d{4,5}|\$\{[A-Z]+_PORT:-(\d{4,5})\}):\d{2,5}$")
VERSION = re.compile(r":v?\d+\.\d+[\w.-]*$|@sha256:[0-9a-f]{64}$")


def services(path: Path) -> dict[str, dict[str, Any]]:
    table = yaml.safe_load(path.read_text("utf-8"))
    assert set(table) == {"name", "services"}
    assert re.fullmatch(r"tailrace-[a-z-]+", table["name"])
    return dict(table["services"])


def test_every_engine_has_its_file() -> None:
    assert {path.stem for path in FILES} == {"triton", "torchserve", "tensorflow-serving", "redis", "monitoring"}
    told = (COMPOSE / "README.md").read_text("utf-8")
    assert all(f"`{path.name}`" in told for path in FILES)
    assert "None of them was ever run by us" in told


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_keeps_the_specification_and_its_images_are_pinned(path: Path) -> None:
    table = yaml.safe_load(path.read_text("utf-8"))
    VALIDATOR.validate({key: value for key, value in table.items() if key not in NEWER})
    for name, service in services(path).items():
        assert VERSION.search(service["image"]), f"{name}: {service['image']} is not pinned"


def test_the_setup_that_starts_a_container_names_its_image() -> None:
    [triton] = services(COMPOSE / "triton.yaml").values()
    assert find_catalog(ROOT).setup("triton-container").needs.image == triton["image"]


def test_the_schema_would_tell() -> None:
    table = {"services": {"redis": {"image": "redis:7.4.1", "prots": ["127.0.0.1:1:1"]}}}
    with pytest.raises(jsonschema.ValidationError, match="prots"):
        VALIDATOR.validate(table)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_listens_on_loopback_only(path: Path) -> None:
    for name, service in services(path).items():
        if service.get("network_mode") == "host":
            text = f"{service.get('command', '')} {service.get('environment', '')}"
            assert re.search(r"listen-address=127\.0\.0\.1:|GF_SERVER_HTTP_ADDR': '127\.0\.0\.1'", text), name
            assert "ports" not in service
        else:
            assert service["ports"]
            assert all(LOOPBACK.match(port) for port in service["ports"]), name


def test_no_two_files_want_one_port() -> None:
    ports = [re.findall(r"\d{4,5}", port.rpartition(":")[0])[-1]
             for path in FILES for service in services(path).values() for port in service.get("ports", ())]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_mounted_is_there_and_read_only(path: Path) -> None:
    for service in services(path).values():
        for volume in service.get("volumes", ()):
            assert volume.endswith(":ro")
            source = re.sub(r"^\$\{[A-Z]+:\?[^}]+\}", "", volume)
            assert source.startswith(":") or (COMPOSE / source.split(":")[0]).exists(), volume


def test_what_is_scraped_can_be_read() -> None:
    config = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert config["scrape_configs"][0]["file_sd_configs"][0]["files"] == ["/etc/prometheus/targets.json"]
    for entry in json.loads((COMPOSE / "prometheus" / "targets.json").read_text("utf-8")):
        assert all(target.startswith("127.0.0.1:") for target in entry["targets"])
        assert entry["labels"]["setup"]


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((COMPOSE / "grafana" / "dashboards" / "setups.json").read_text("utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(panel["datasource"]["uid"] == "prometheus" for panel in board["panels"])
    assert all(expr.count("(") == expr.count(")") for expr in asked)
    for prefix, folder, least in (("tailrace_", "batching", 5), ("gateway_", "gateway", 4)):
        ours = {re.sub("_(total|bucket|sum|count)$", "", name) for expr in asked
                for name in re.findall(rf"\b{prefix}[a-z_]+", expr)}
        code = "".join(file.read_text("utf-8") for file in (ROOT / "setups" / folder).glob("*.py"))
        assert len(ours) > least
        assert not [name for name in ours if name not in code]


def test_what_the_dashboard_cannot_show_is_named() -> None:
    catalog = find_catalog(ROOT)
    said = {name: str(catalog.setup(name).mlops["metrics"]) for name in catalog.setup_names()}
    blank = {name for name, words in said.items() if words == "False" or words.startswith(("none", "off"))}
    text = (COMPOSE / "README.md").read_text("utf-8")
    [told] = re.findall(r"The dashboard asks [^:]+: (.+?) have no `/metrics`", text)
    assert set(re.findall("`([a-z-]+)`", told)) == blank | {"replicas"}  # of replicas' two balancers, nginx


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_compose_itself_agrees(path: Path) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    known = {key: value for key, value in yaml.safe_load(path.read_text("utf-8")).items() if key not in NEWER}
    done = subprocess.run([program, "--project-directory", str(COMPOSE), "-f", "-", "config", "--quiet"],
                          input=yaml.safe_dump(known), capture_output=True, text=True, check=False,
                          env={"PATH": "/usr/bin:/bin", "MODELS": "/models"})
    assert done.returncode == 0, done.stderr
