"""What the generator asks of the machine."""

import gc
import os
import subprocess
import sys
import time

import gevent
import pytest

from harness.load.hiccup import Meter
from harness.load.process import Collector, pin
from harness.load.timer import Timer


def test_the_timer_is_absolute_and_precise() -> None:
    fired: list[int] = []
    with Timer(gevent.get_hub().loop, lambda: fired.append(time.monotonic_ns())) as timer:
        due = time.monotonic_ns() + 20_300_000
        timer.arm(due)
        while not fired:
            gevent.sleep(0.001)
        timer.disarm()
        gevent.sleep(0.01)
        count = len(fired)
        gevent.sleep(0.01)
    assert fired[0] >= due
    assert fired[0] - due < 20_000_000
    assert len(fired) == count


def test_a_past_time_fires_at_once() -> None:
    fired: list[int] = []
    with Timer(gevent.get_hub().loop, lambda: fired.append(1)) as timer:
        timer.arm(time.monotonic_ns() - 1)
        gevent.sleep(0.01)
    assert fired


def test_the_collector_rests_and_its_passes_are_counted() -> None:
    with Collector() as collector:
        assert not gc.isenabled()
        gc.collect()
    assert gc.isenabled()
    assert len(collector.pauses_ns) == 1
    assert collector.pauses_ns[0] > 0


def test_the_meter_sees_a_stopped_cpu() -> None:
    if not hasattr(os, "SCHED_FIFO") or os.geteuid() != 0:
        pytest.skip("only a realtime process can be sure to hold a CPU up")
    before = os.sched_getaffinity(0)
    pin(max(before))
    try:
        with Meter() as meter:
            time.sleep(0.3)
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
            from_ns = time.monotonic_ns()
            while time.monotonic_ns() - from_ns < 30_000_000:
                pass
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            time.sleep(0.05)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)
    assert meter.hiccups.realtime
    assert any(start <= from_ns + 5_000_000 and end >= from_ns + 25_000_000 for start, end in meter.hiccups.pauses_ns)


def test_there_is_room_for_as_many_files_as_may_be_open_before_the_first_is() -> None:
    code = "from harness.load.process import OPEN_FILES, raise_file_limit\n" \
           "before = set(os.listdir('/proc/self/fd'))\n" \
           "print(min(raise_file_limit(), OPEN_FILES))\n" \
           "assert set(os.listdir('/proc/self/fd')) == before\n" \
           "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('FDSize')))"
    ran = subprocess.run([sys.executable, "-c", f"import os\n{code}"], capture_output=True, text=True, check=True,
                         stdin=subprocess.DEVNULL)
    limit, room = map(int, ran.stdout.split())
    assert 256 <= limit <= room
