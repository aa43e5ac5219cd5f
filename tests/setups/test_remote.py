"""A server elsewhere, by its URL: over TLS, with a token or a signature, and never beyond this machine unasked."""

import hashlib
import hmac
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.catalog.discover import Catalog, find_catalog
from harness.plan.attempt import Attempt
from harness.plan.expand import resolve_knobs
from harness.record.read import StoredRun, open_run
from harness.run.bench import this_bench
from harness.run.conformance import check
from harness.run.race import race
from tests.setups.conftest import Deploy

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
TOYS = Catalog(ROOT / "tests" / "toys")
REMOTE = find_catalog(ROOT).setup("remote")
TOKEN, KEY, SECRET = "token-5e1f0c", "AKIDTESTONLY", "secret-9b2d7a"


def derived(day: str, region: str, service: str) -> bytes:
    """AWS's "Derive a signing key" from its documentation."""
    key = f"AWS4{SECRET}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def is_signed(handler: BaseHTTPRequestHandler, method: str, body: bytes) -> bool:
    """Whether the request bears Signature Version 4, computed from its documentation."""
    told = handler.headers.get("Authorization", "")
    if not told.startswith("AWS4-HMAC-SHA256 "):
        return False
    parts = dict(part.strip().split("=", 1) for part in told.split(" ", 1)[1].split(","))
    _, day, region, service, _ = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    headers = "".join(f"{name}:{handler.headers.get(name, '').strip()}\n" for name in names)
    request = "\n".join([method, handler.path, "", headers, ";".join(names), hashlib.sha256(body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", handler.headers["X-Amz-Date"], f"{day}/{region}/{service}/aws4_request",
                      hashlib.sha256(request.encode()).hexdigest()])
    mine = hmac.new(derived(day, region, service), text.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(mine, parts["Signature"])


class Elsewhere(BaseHTTPRequestHandler):
    """Doubles numbers for who proves to know a secret."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    auth = "none"

    def do_GET(self) -> None:
        self.reply(200 if self.path.startswith("/up") and self.allowed("GET", b"") else 404, b"{}")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed("POST", body):
            return self.reply(403, b'{"error": "who are you?"}')
        return self.reply(200, json.dumps({"double": 2 * json.loads(body)["n"]}).encode())

    def allowed(self, method: str, body: bytes) -> bool:
        return {"none": lambda: True, "sigv4": lambda: is_signed(self, method, body),
                "query": lambda: self.path.endswith(f"?v=2&code={TOKEN}"),
                "bearer": lambda: self.headers.get("Authorization") == f"Bearer {TOKEN}"}[self.auth]()

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


class Listener(ThreadingHTTPServer):
    """Takes as many connections at a time as a load generator on a busy machine opens."""

    request_queue_size = 128


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Callable[[str], tuple[str, Path]]]:
    """Starts a TLS server with a certificate of its own: its URL, and the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                   check=True, capture_output=True)
    started: list[ThreadingHTTPServer] = []

    def start(auth: str) -> tuple[str, Path]:
        server = Listener(("127.0.0.1", 0), type("Handler", (Elsewhere,), {"auth": auth}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"https://localhost:{server.server_address[1]}", certificate

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


class Quiet:
    """Watches a race in silence."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


def run(results: Path, **knobs: Any) -> StoredRun:
    """The record of two seconds of little load through the remote setup."""
    resolved = resolve_knobs(REMOTE, knobs, 1)
    attempt = Attempt("p", "", REMOTE.with_knobs(resolved), TOYS.workload("echo"), TOYS.scenario("brief").resolved(1),
                      1.0, resolved, seed=11)
    bench = this_bench(TOYS, results)
    [run_id] = race([attempt], bench, Quiet())
    return open_run(bench.folder / run_id)


@pytest.mark.parametrize("auth", ["none", "bearer", "sigv4", "query"])
def test_over_tls_with_each_kind_of_proof(elsewhere: Callable[[str], tuple[str, Path]], tmp_path: Path, auth: str,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TAILRACE_REMOTE_TOKEN", TOKEN), ("AWS_ACCESS_KEY_ID", KEY),
                        ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    url, certificate = elsewhere(auth)
    plain = "?v=2" if auth == "query" else ""
    if auth == "query":
        monkeypatch.setenv("TAILRACE_REMOTE_QUERY", f"code={TOKEN}")
    record = run(tmp_path / "results", url=f"{url}/double{plain}", ready_url=f"{url}/up{plain}",
                 ca_file=str(certificate), auth="none" if auth == "query" else auth)
    assert (record.meta.status, record.meta.reason) == ("ok", "")
    rows = record.columns("status", "judged")
    assert (set(rows["status"]), set(rows["judged"])) == ({200}, {1})
    for file in (tmp_path / "results").rglob("*"):
        assert file.is_dir() or not any(secret.encode() in file.read_bytes() for secret in (TOKEN, SECRET)), file


def test_a_wrong_proof_an_unknown_certificate_and_a_foreign_host_are_told(
        elsewhere: Callable[[str], tuple[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_REMOTE_TOKEN", "wrong")
    url, certificate = elsewhere("bearer")
    for knobs, said in (({"url": url, "ca_file": str(certificate), "auth": "bearer"}, "403"),
                        ({"url": "https://example.invalid/x"}, "load leaves it only with --knob remote.outside=true"),
                        ({"url": url, "protocol": "oip-grpc"}, "'oip-grpc' is gRPC, which is not relayed"),
                        ({"url": ""}, "--knob remote.url=")):
        assert said in run(tmp_path / "results", **knobs).meta.reason
    monkeypatch.delenv("TAILRACE_REMOTE_TOKEN")
    assert "TAILRACE_REMOTE_TOKEN is not set" in run(tmp_path / "results", url=url, auth="bearer").meta.reason


def test_a_setup_of_ours_started_separately(deploy: Deploy) -> None:
    server = deploy("fastapi")
    relay = deploy("remote", url=f"http://127.0.0.1:{server.port}/predict", ca_file="", ready_url="", outside="false")
    assert relay.predict({"x": 7}).json() == {"y": 49}
    assert relay.predict({"x": "seven"}).status == 400
    assert "model;dur=" in relay.predict({"x": 1}).headers["server-timing"]
    server.process.terminate()
    server.process.wait(10)
    assert relay.predict({"x": 7}).status == 502
    assert relay.ask("GET", "/healthz").status == 503


def test_conformance_skips_what_nobody_named() -> None:
    assert os.environ.get("TAILRACE_REMOTE_URL") is None
    found = check(REMOTE, TOYS.workload("echo"))
    assert [(point.code, point.verdict) for point in found.points] == [("needs", "skipped")]
