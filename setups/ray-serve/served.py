"""The deployment: one replica of the model, which answers what has gathered in front of it."""

import asyncio
import os
import time
from pathlib import Path

import model
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from ray import serve
from ray.serve._private import replica
from ray.serve.schema import ApplicationStatus
from replica.golden import golden_bodies
from replica.replica import BODY_LIMIT
from replica.timing import device_ms, server_timing

app = FastAPI(openapi_url=None)


def listen_on_loopback(host: str) -> None:
    """Ray of this machine's own: a replica's gRPC port, for which Ray has no setting, binds `host` instead of every
    address. Called in the replica before Ray opens it."""
    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", host))


@serve.deployment
@serve.ingress(app)
class Served:
    """Ray counts a replica as running once __init__ has returned, so once it has answered a golden request. `host` is
    the only address it may listen on, "" in a cluster that is not ours."""

    def __init__(self, max_batch: int, max_wait_s: float, host: str) -> None:
        if host:
            listen_on_loopback(host)
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        model.predict(self._model, [model.decode(golden_bodies(Path(os.environ["WORKLOAD"]))[0])])
        self._complete = False
        self.answer.set_max_batch_size(max_batch)
        self.answer.set_batch_wait_timeout_s(max_wait_s)

    @app.post("/predict")
    async def predict(self, request: Request) -> Response:
        """One item in, one answer out."""
        body = await request.body()
        if len(body) > BODY_LIMIT:
            return JSONResponse({"error": f"the body is larger than {BODY_LIMIT} bytes"}, status_code=413)
        begun = time.monotonic()
        try:
            item = model.decode(body)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        decoded = time.monotonic()
        answer, started, model_s, on_device, size = await self.answer(item)
        timing = {"queue": (started - decoded) * 1e3, "model": (model_s + decoded - begun) * 1e3} | on_device
        return Response(answer, media_type=model.ANSWER_TYPE, headers={
            "Server-Timing": server_timing(timing), "x-batch-size": str(size)})

    @serve.batch
    async def answer(self, items: list) -> list:
        """For every item: the answer's body, when its batch began, seconds in the model, milliseconds on a device,
        items in the batch."""
        started = time.monotonic()
        # On the event loop, as in Ray's own examples: in a thread it is slower, and gathers smaller batches.
        answers = [model.encode(answer) for answer in model.predict(self._model, items)]
        took = time.monotonic() - started
        on_device = device_ms(self._model)
        return [(answer, started, took, on_device, len(items)) for answer in answers]

    @app.get("/healthz")
    async def healthz(self) -> Response:
        """200 in a replica that is ready, once all have been: the first alone would be no fair start."""
        if not self._complete:
            apps = (await asyncio.to_thread(serve.status)).applications
            self._complete = apps[serve.get_replica_context().app_name].status == ApplicationStatus.RUNNING
        return PlainTextResponse("ready\n" if self._complete else "starting\n", 200 if self._complete else 503)
