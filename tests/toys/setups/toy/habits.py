"""A server of the standard library with one bad habit: `python -m toy.habits HABIT`."""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import model
from toy.tongues import TONGUES

PREDICTIONS_BEFORE_HABIT = 120
LARGEST_BODY = 1 << 20


class Toy:
    """What the server does, and after how many predictions its habit shows."""

    def __init__(self, habit: str) -> None:
        self.habit = habit
        self.predictions = 0
        self.stalled = threading.Lock()
        self.stopping = False
        self.tongue = TONGUES[os.environ.get("KNOB_PROTOCOL", "json")]
        self.closes_after = 1 << 30  # requests that a connection carries
        self.timing = "queue;dur=0.5, wait;dur=0.25, model;dur=1.0"

    def ready(self) -> tuple[int, bytes]:
        return (503, b"loading") if self.habit == "never-ready" else (200, b"ready")

    def predict(self, body: bytes) -> tuple[int, bytes]:
        self.predictions += 1
        if self.habit == "lies":
            return 503, b"the model is still loading"
        if self.predictions > PREDICTIONS_BEFORE_HABIT:
            self.misbehave()
        try:
            item = model.decode(self.tongue.body(body))
        except (ValueError, LookupError) as error:
            return 400, str(error).encode()
        factor = 3 if self.habit == "answers-wrongly" else 2
        return 200, self.tongue.answer(model.encode(model.predict(factor, [item])[0]))

    def misbehave(self) -> None:
        if self.habit == "crashes-mid-run":
            print("fatal: out of cheese", flush=True)
            os._exit(9)
        if self.habit == "hangs":
            threading.Event().wait()
        if self.habit == "stalls":
            with self.stalled:
                if self.predictions < PREDICTIONS_BEFORE_HABIT * 100:
                    self.predictions = PREDICTIONS_BEFORE_HABIT * 100
                    time.sleep(1)


def handler(toy: Toy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        carried = 0
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            known = {toy.tongue.ready: toy.ready,
                     "/metrics": lambda: (200, f"predictions {toy.predictions}\n".encode())}
            self.answer(*known.get(self.path, lambda: (404, b"no such route"))())

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if length > LARGEST_BODY:
                while length > 0:
                    length -= len(self.rfile.read(min(length, 65536)))
                self.answer(413, b"the body is too large")
                return
            body = self.rfile.read(length)
            self.answer(*toy.predict(body) if self.path == toy.tongue.predict else (404, b"no such route"))

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Server-Timing", toy.timing)
            self.send_header("x-batch-size", "1")
            self.carried += 1
            if toy.stopping or self.carried >= toy.closes_after:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    return Handler


def daemonise() -> bool:
    """Forks twice, away from session and parent; True in the grandchild."""
    if os.fork():
        return False
    os.setsid()
    if os.fork():
        os._exit(0)
    return True


def flood() -> None:
    line = b"x" * 4095 + b"\n"
    while True:
        os.write(1, line * 16)


def begin_habit(habit: str) -> None:
    """What shows before the port is opened."""
    if habit == "crashes-at-start":
        raise RuntimeError("the model file is missing")
    if habit == "forks-away" and not daemonise():
        os._exit(0)
    if habit == "leaves-daemon" and daemonise():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
    if habit == "ignores-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if habit == "floods-log":
        threading.Thread(target=flood, daemon=True).start()


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def main() -> None:
    habit = sys.argv[1]
    toy = Toy(habit)
    begin_habit(habit)
    serve(toy, "0.0.0.0" if habit == "all-addresses" else os.environ["HOST"], habit != "ignores-sigterm")


def serve(toy: Toy, host: str, ends: bool = True) -> None:
    """Serves until SIGTERM, or for ever."""
    server = Server((host, int(os.environ["PORT"])), handler(toy))
    if ends:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=finish, args=[toy, server]).start())
    server.serve_forever(poll_interval=0.05)


def finish(toy: Toy, server: Server) -> None:
    """Answers what is in flight, then ends, whatever connections are still open."""
    toy.stopping = True
    time.sleep(0.3)
    server.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
