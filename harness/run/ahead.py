"""Environments and models made side by side before they are needed: each alone leaves cores and disks idle."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

import psutil

from harness.catalog.setup import Setup
from harness.catalog.workload import Workload
from harness.run.environments import environment
from harness.run.prepare import prepare


def make_ahead(served: Iterable[tuple[Workload, Setup]], say: Callable[[str], None]) -> None:
    """Puts the models of the workloads and the environments of the setups that serve them into the cache, as many at
    once as there are CPUs.

    What fails here fails again, and is told, when it is asked for by itself. An interruption ends what is being made.
    """
    served = list(served)
    wanted = dict.fromkeys(((workload.lock, part.lock), part.displaces)
                           for workload, setup in served for part in setup.parts)
    making: list[Callable[[], object]] = [partial(environment, locks, say, displaces) for locks, displaces in wanted]
    making += [partial(prepare, workload, say) for workload in {each.name: each for each, _ in served}.values()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures: list[Future[object]] = [pool.submit(make) for make in making]
        try:
            wait(futures)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children(recursive=True):
                child.kill()
            raise
