"""Flask: one route, one model replica per worker process."""

import model
from flask import Flask, Response, request
from replica.replica import BODY_LIMIT, Replica
from werkzeug.exceptions import HTTPException

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
# Loaded on import, so in each gunicorn worker for itself: threads of ONNX Runtime do not survive a fork.
replica = Replica()


@app.post("/predict")
def predict() -> Response:
    """One item in, one answer out. ValueError becomes a 400 below."""
    answer, timing = replica.answer(request.get_data(cache=False))
    return Response(answer, mimetype=model.ANSWER_TYPE, headers={"Server-Timing": timing})


@app.get("/healthz")
def healthz() -> Response:
    """Reached only in a worker whose replica has answered a golden request."""
    return Response("ready\n", mimetype="text/plain")


@app.errorhandler(ValueError)
def bad_body(error: ValueError) -> tuple[dict[str, str], int]:
    """What the model's decode says of the body."""
    return {"error": str(error)}, 400


@app.errorhandler(HTTPException)
def refused(error: HTTPException) -> tuple[dict[str, str], int]:
    """404, 405 and 413 in the same words as any other error."""
    return {"error": str(error.description)}, error.code or 500
