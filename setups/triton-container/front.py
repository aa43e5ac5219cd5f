"""The application in front of Triton: it decodes, prepares and finishes with the workload's code, which asks Triton for
the rest as if that were an ONNX Runtime here."""

import multiprocessing
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import onnxruntime
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from replica.lifeline import die_with_parent
from session import Session

onnxruntime.InferenceSession = Session  # before the workload's code, which these import, asks for one
import model  # noqa: E402
from replica.replica import BODY_LIMIT, Replica  # noqa: E402

THREADS = int(os.environ["KNOB_REQUEST_THREADS"])
ROOM = max(1, int(os.environ["KNOB_QUEUE"]) // int(os.environ["KNOB_WORKERS"]))  # requests in this process; 503 beyond


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Prove the model before this process accepts a connection."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        die_with_parent(parent.pid)
    app.state.replica, app.state.inside = Replica(), 0
    app.state.threads = anyio.CapacityLimiter(THREADS)
    yield


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.post("/predict")
async def predict(request: Request) -> Response:
    """One item in, one answer out; a thread waits for Triton."""
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared) > BODY_LIMIT:
        return refusal(413 if declared.isdecimal() else 411, f"a body tells its length, {BODY_LIMIT} bytes at most",
                       connection="close")
    body, state = await request.body(), request.app.state
    if state.inside >= ROOM:
        return refusal(503, "too many requests wait already", **{"retry-after": "1"})
    state.inside += 1
    try:
        answer, timing = await anyio.to_thread.run_sync(state.replica.answer, body, limiter=state.threads)
    except ValueError as error:
        return refusal(400, str(error))
    finally:
        state.inside -= 1
    return Response(answer, media_type=model.ANSWER_TYPE, headers={"Server-Timing": timing})


def refusal(status: int, message: str, **headers: str) -> Response:
    """Why there is no answer."""
    return JSONResponse({"error": message}, status_code=status, headers=headers)


@app.get("/healthz")
async def healthz() -> Response:
    """Reached only in a process that has answered a golden request."""
    return PlainTextResponse("ready\n")
