"""LitServe: API processes put bodies on a queue, workers with a model take them off in batches."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import litserve
import model
from fastapi import Depends, Request
from fastapi.responses import JSONResponse, Response
from litserve.loops import BatchedLoop
from replica.golden import golden_bodies
from replica.lifeline import die_with_parent
from replica.replica import BODY_LIMIT
from replica.timing import device_ms, server_timing

STOP_S = 8


def apart() -> None:
    """Makes this child deaf to a SIGTERM meant for the group: the first process ends it, once its work is done."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    die_with_parent(os.getppid())


async def arrival(request: Request) -> tuple[bytes, float]:
    """The raw body and when it came, in seconds of the monotonic clock; what goes over LitServe's queue."""
    return await request.body(), time.monotonic()


class Served(litserve.LitAPI):
    """The workload as LitServe wants it. A bad body travels through its batch as the ValueError that it caused:
    raised, it would fail the whole batch."""

    def setup(self, _device: str) -> None:
        """Loads the model and proves it by a golden request. LitServe's name for the device is torch's."""
        apart()
        self.loaded = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self.loaded, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])

    def decode_request(self, request: Annotated[tuple, Depends(arrival)]) -> tuple[object, dict[str, float]]:
        """The item or the ValueError, and its times in seconds."""
        body, came = request
        begun = time.monotonic()
        try:
            item = model.decode(body)
        except ValueError as error:
            item = error
        return item, {"queue": begun - came, "model": time.monotonic() - begun}

    def batch(self, inputs: list) -> list:
        """A batch is the list itself."""
        return inputs

    def predict(self, inputs: list) -> list:
        """Answers in the order of the inputs, errors where they were."""
        begun = time.monotonic()
        items = [item for item, _ in inputs if not isinstance(item, ValueError)]
        answers = iter(model.predict(self.loaded, items) if items else [])
        took = time.monotonic() - begun
        on_device = {name: ms / 1e3 for name, ms in device_ms(self.loaded).items()}
        return [(item if isinstance(item, ValueError) else next(answers),
                 times | {"model": times["model"] + took} | on_device, len(items)) for item, times in inputs]

    def unbatch(self, output: list) -> list:
        """One output for each input."""
        return output

    def encode_response(self, output: tuple) -> Response:
        """200 with the answer, or 400 with what is wrong with the body."""
        answer, times, size = output
        if isinstance(answer, ValueError):
            return JSONResponse({"error": str(answer)}, status_code=400)
        begun = time.monotonic()
        body = model.encode(answer)
        times["model"] += time.monotonic() - begun
        timing = server_timing({name: seconds * 1e3 for name, seconds in times.items()})
        return Response(body, media_type=model.ANSWER_TYPE,
                        headers={"Server-Timing": timing, "x-batch-size": str(size)})


def main() -> None:
    """Serves until SIGTERM or SIGINT; requests in flight are answered first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the one signal at which LitServe ends its children
    os.register_at_fork(after_in_child=apart)
    api = Served(max_batch_size=int(os.environ["KNOB_MAX_BATCH"]), loop=BatchedLoop(),
                 batch_timeout=float(os.environ["KNOB_MAX_WAIT_MS"]) / 1e3)
    server = litserve.LitServer(api, accelerator="cuda" if os.environ["DEVICE"] == "gpu" else "cpu", devices=1,
                                healthcheck_path="/healthz",
                                workers_per_device=int(os.environ["KNOB_WORKERS"]),
                                timeout=float(os.environ["KNOB_TIMEOUT_S"]),
                                max_payload_size=BODY_LIMIT, disable_openapi_url=True, restart_workers=True)
    server.uvicorn_graceful_timeout = STOP_S
    try:
        server.run(host=os.environ["HOST"], port=int(os.environ["PORT"]), log_level="warning",
                   num_api_servers=int(os.environ["KNOB_API_SERVERS"]) or None, generate_client_file=False,
                   timeout_keep_alive=75)
    except KeyboardInterrupt:
        for child in multiprocessing.active_children():  # SIGTERM came while it was starting
            child.terminate()


if __name__ == "__main__":
    main()
