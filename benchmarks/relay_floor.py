"""What does the relay of the setup `remote` add to every latency, and how many requests a second does it pass on?

    python benchmarks/relay_floor.py            # about 40 s; needs openssl, and this machine for itself

A server that answers at once (benchmarks/relay_target.py) is asked directly, and through the relay over plain HTTP,
over TLS with a certificate made here, and over TLS with requests that AWS's Signature Version 4 signs. The load is the
harness's own: one generator, open loop, Poisson arrivals, bodies of one byte, over connections that are kept. p50 and
p99 are at 200 requests a second; `added` is what they are above those of the server asked directly over plain HTTP, so
that the time which the server itself spends on TLS is in it. `most` is the highest of RATES that is kept up with: after
a second of it answers still come within KEPT_UP_MS. The relay has the first server core for itself where there are two
of them; else the server that is asked shares the generator's core.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.catalog.discover import find_catalog
from harness.catalog.setup import Setup, knob_text
from harness.errors import TailraceError
from harness.load.rig import Load, measure
from harness.load.rows import Columns
from harness.run.cores import split
from harness.run.environments import environment
from harness.run.exchange import FAILURES, exchange
from harness.run.locks import only_harness
from harness.run.sockets import free_port

IDLE_RATE, IDLE_S, WARMUP_S, PROBE_S = 200.0, 3.0, 0.4, 1.0
RATES = (500.0, 750.0, 1000.0, 1500.0, 2000.0, 2500.0, 3500.0)
KEPT_UP_MS = 20.0
READY_S = 15.0
SEED = 3
WAYS = ("plain HTTP", "TLS", "TLS and SigV4")
# Nobody's: the server that is asked does not look at signatures.
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDBENCHMARK", "AWS_SECRET_ACCESS_KEY": "nobody's"}


@dataclass(frozen=True)
class Place:
    """CPUs of the relay, of the server that is asked and of the generator; the relay's Python; a scratch folder."""

    relay: int
    target: int
    load: int
    python: Path
    folder: Path


def quantiles_ms(rows: Columns) -> tuple[float, float]:
    """p50 and p99 of the latencies in ms of what was not warm-up; infinite where a request failed."""
    rows = counted(rows)
    if not len(rows["error"]) or (rows["error"] != "").any():
        return float("inf"), float("inf")
    p50, p99 = np.quantile(rows["done_ns"] - rows["due_ns"], (0.5, 0.99), method="inverted_cdf") / 1e6
    return float(p50), float(p99)


def kept_up(rows: Columns) -> bool:
    """Whether no request failed and the last quarter's median latency is below KEPT_UP_MS: a queue that grows has made
    them wait by then, and a pause of the host has not."""
    rows = counted(rows)
    late = rows["due_ns"] >= np.quantile(rows["due_ns"], 0.75)
    latency_ms = (rows["done_ns"] - rows["due_ns"])[late] / 1e6
    return not (rows["error"] != "").any() and float(np.median(latency_ms)) < KEPT_UP_MS


def most(rates: Sequence[float], keeps_up: Callable[[float], bool]) -> float:
    """The highest of the rising rates that is kept up with, by bisection; 0 when none is."""
    low, high = 0, len(rates)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if keeps_up(rates[middle]) else (low, middle)
    return rates[low - 1] if low else 0.0


def counted(rows: Columns) -> Columns:
    """Those that are not warm-up."""
    return {name: column[rows["stage"] >= 0] for name, column in rows.items()}


def asked(port: int, rate: float, seconds: float, place: Place) -> Columns:
    """Rows of a load on that port. Raises RunFailedError when the generator gives none."""
    stages = [{"arrivals": "poisson", "rate": rate, "duration_s": seconds}]
    return measure(Load(stages, [b"0"], WARMUP_S, SEED), port, place.load, place.folder)[0]


@contextmanager
def target(place: Place, tls: Sequence[Path] = ()) -> Iterator[int]:
    """The port of a server that answers at once, over TLS with a certificate and its key where they are given. Raises
    TailraceError when it does not start."""
    command = [place.python, Path(__file__).with_name("relay_target.py"), *tls]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            os.sched_setaffinity(process.pid, {place.target})
            told = process.stdout.readline()
            if not told:
                raise TailraceError("the server to be relayed to did not start", "see what it said above")
            yield int(told)
        finally:
            process.kill()


@contextmanager
def relay(setup: Setup, place: Place, **knobs: str) -> Iterator[int]:
    """The port of the setup's relay with those knobs. Raises TailraceError when it does not become ready."""
    port = free_port()
    told = {**{name: knob_text(value) for name, value in setup.knobs.items()}, **knobs}
    env = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": str(port), **KEYS,
           "PYTHONPATH": f"{setup.folder}:{setup.folder.parent}",
           **{f"KNOB_{name.upper()}": value for name, value in told.items()}}
    with (place.folder / "relay.log").open("w+") as log, subprocess.Popen(
            [place.python, "-m", "relay"], cwd=setup.folder, env=env, stdout=log, stderr=log) as process:
        try:
            os.sched_setaffinity(process.pid, {place.relay})
            until_s = time.monotonic() + READY_S
            while not is_ready(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    raise TailraceError(f"the relay is not ready: {Path(log.name).read_text('utf-8').strip()[-300:]}",
                                        "run `tailrace check remote` with a url")
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


def is_ready(port: int) -> bool:
    """Whether the relay reaches the server behind it."""
    with suppress(*FAILURES):
        return exchange(port, "/healthz", timeout_s=2.0).status == 200
    return False


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and its key, made now. Raises TailraceError without openssl."""
    made, key = folder / "certificate.pem", folder / "key.pem"
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made,
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                       check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise TailraceError(f"openssl made no certificate: {error}", "install openssl") from None
    return made, key


def row(way: str, p50: float, p99: float, floor: tuple[float, float], rate: float | None) -> str:
    """One line of the table."""
    highest = "–" if rate is None else f"{rate:,.0f}" if rate else f"< {RATES[0]:,.0f}"
    return f"{way:28} {p50:8.2f} {p99:8.2f} {p50 - floor[0]:10.2f} {p99 - floor[1]:10.2f} {highest:>8}"


def main() -> int:
    """0, or 1 with a sentence where it cannot be measured."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    setup, cores = find_catalog().setup("remote"), split()
    try:
        python = environment([setup.lock], lambda line: print(line, file=sys.stderr)).python
        with only_harness(), tempfile.TemporaryDirectory(prefix="tailrace-relay-") as name:
            place = Place(cores.server[0], cores.server[1] if len(cores.server) > 1 else cores.load[-1],
                          cores.load[-1], python, Path(name))
            table(setup, place)
    except TailraceError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def table(setup: Setup, place: Place) -> None:
    """Measures and prints line by line. Raises TailraceError."""
    made, key = certificate(place.folder)
    print(f"{'':28} {'p50 ms':>8} {'p99 ms':>8} {'added p50':>10} {'added p99':>10} {'most/s':>8}")
    with target(place) as plain, target(place, (made, key)) as over_tls:
        floor = quantiles_ms(asked(plain, IDLE_RATE, IDLE_S, place))
        print(row("the server itself, plain HTTP", *floor, floor, None), flush=True)
        for way in WAYS:
            url = f"http://127.0.0.1:{plain}/" if way == "plain HTTP" else f"https://localhost:{over_tls}/"
            auth, trusted = "sigv4" if "SigV4" in way else "none", "" if way == "plain HTTP" else str(made)
            with relay(setup, place, url=url, auth=auth, ca_file=trusted) as port:
                p50, p99 = quantiles_ms(asked(port, IDLE_RATE, IDLE_S, place))
                rate = most(RATES, lambda each, port=port: kept_up(asked(port, each, PROBE_S, place)))
            print(row(f"relayed, {way}", p50, p99, floor, rate), flush=True)


if __name__ == "__main__":
    sys.exit(main())
