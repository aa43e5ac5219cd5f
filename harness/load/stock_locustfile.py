"""Stock Locust against the calibration's target: closed loop, pacing by constant_throughput.

STOCK_RATE is requests per second of one user, STOCK_CPU where it runs; run by harness/load/stock.py.
"""

import os

from locust import FastHttpUser, HttpUser, constant_throughput, task

os.sched_setaffinity(0, {int(os.environ["STOCK_CPU"])})
BODY = "000000200000"


class Fast(FastHttpUser):
    wait_time = constant_throughput(float(os.environ["STOCK_RATE"]))

    @task
    def ask(self) -> None:
        self.client.post("/", data=BODY)


class Plain(HttpUser):
    wait_time = constant_throughput(float(os.environ["STOCK_RATE"]))

    @task
    def ask(self) -> None:
        self.client.post("/", data=BODY)
