"""A server with one worker that tells truthfully where its time goes: `python -m toy.tells_times HABIT`.

A prediction takes 2 ms and 2 µs for every byte of its body. Habits: `none`; `waits`: every 50th waits 100 ms for
company that does not come; `collects`: every 50th collects garbage for as long; `closes`: every tenth answer ends its
connection, and a new one costs as much; `trickles`: every 50th answer comes in two halves, as far apart. A host shared
with others stops a process for some 20 ms now and then: a habit must cost more than that to be what a tail is made of.
"""

import gc
import os
import queue
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import model

BASE_S, PER_BYTE_S = 2e-3, 2e-6
HABIT_S = 0.1
EVERY, CLOSES_EVERY = 50, 10
LIVING_OBJECTS = 600_000


class Told(NamedTuple):
    """Seconds in the queue, waiting for company, in the model, and in a collection within that."""

    queue_s: float
    wait_s: float
    model_s: float
    gc_s: float
    answer: bytes


class Worker(threading.Thread):
    """Answers one body at a time, first come, first served."""

    def __init__(self, habit: str) -> None:
        super().__init__(daemon=True)
        self.habit = habit
        self.count = 0
        self.jobs: queue.SimpleQueue[tuple[float, bytes, queue.SimpleQueue[Told]]] = queue.SimpleQueue()
        gc.disable()
        self.living = [{"n": n} for n in range(LIVING_OBJECTS)] if habit == "collects" else []

    def ask(self, body: bytes) -> Told:
        answer: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self.jobs.put((time.monotonic(), body, answer))
        return answer.get()

    def run(self) -> None:
        while True:
            came, body, answer = self.jobs.get()
            begun = time.monotonic()
            self.count += 1
            now = self.count % EVERY == 0
            if now and self.habit == "waits":
                time.sleep(HABIT_S)
            filled = time.monotonic()
            if now and self.habit == "collects":
                while time.monotonic() < filled + HABIT_S:
                    gc.collect()
            collected = time.monotonic()
            time.sleep(BASE_S + PER_BYTE_S * len(body))
            said = model.encode(model.predict(2, [model.decode(body)])[0])
            end = time.monotonic()
            answer.put(Told(begun - came, filled - begun, end - filled, collected - filled, said))


def handler(worker: Worker) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def setup(self) -> None:
            if worker.habit == "closes":
                time.sleep(HABIT_S)
            super().setup()

        def do_GET(self) -> None:
            self.answer(200 if self.path == "/healthz" else 404, b"", "")

        def do_POST(self) -> None:
            try:
                told = worker.ask(self.rfile.read(int(self.headers["Content-Length"])))
            except ValueError as error:
                self.answer(400, str(error).encode(), "")
                return
            ms = dict(zip(("queue", "wait", "model", "gc"), (1e3 * each for each in told[:4]), strict=True))
            self.answer(200, told.answer, ", ".join(f"{name};dur={value:.3f}" for name, value in ms.items()))

        def answer(self, status: int, body: bytes, timing: str) -> None:
            turn = worker.count
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if timing:
                self.send_header("Server-Timing", timing)
                self.send_header("x-batch-size", "1")
            if worker.habit == "closes" and turn % CLOSES_EVERY == 0:
                self.send_header("Connection", "close")
            self.end_headers()
            if worker.habit == "trickles" and turn % EVERY == 0 and body:
                self.wfile.write(body[:1])
                self.wfile.flush()
                time.sleep(HABIT_S)
                body = body[1:]
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            return

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    worker = Worker(sys.argv[1])
    worker.start()
    server = Server((os.environ["HOST"], int(os.environ["PORT"])), handler(worker))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.05)
    os._exit(0)


if __name__ == "__main__":
    main()
