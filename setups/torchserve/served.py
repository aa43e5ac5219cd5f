"""The workload as a TorchServe handler, which TorchServe gives whole batches."""

import os
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import model
from replica.golden import golden_bodies


class Handler:
    """One worker's model. A body that is bad gets 400 and spoils no other of its batch."""

    def initialize(self, _context: Any) -> None:
        """Loads the model and proves it by a golden request."""
        self._model = model.load(Path(os.environ["MODEL_DIR"]), int(os.environ["THREADS"]), os.environ["DEVICE"])
        self._golden = golden_bodies(Path(os.environ["WORKLOAD"]))[0]
        model.predict(self._model, [model.decode(self._golden)])

    def handle(self, rows: list[dict[str, bytearray]], context: Any) -> list[bytes | dict[str, str]]:
        """One answer for each row, in order."""
        begun = time.monotonic()
        decoded = [self._decoded(bytes(row.get("body") or b""), context.get_all_request_header(index))
                   for index, row in enumerate(rows)]
        items = [item for item in decoded if not isinstance(item, ValueError)]
        answers = iter(model.predict(self._model, items) if items else ())
        said: list[bytes | dict[str, str]] = []
        for index, item in enumerate(decoded):
            if isinstance(item, ValueError):
                context.set_response_status(HTTPStatus.BAD_REQUEST, HTTPStatus.BAD_REQUEST.phrase, index)
                said.append({"error": str(item)})
            else:
                said.append(model.encode(next(answers)))
                context.set_response_content_type(index, model.ANSWER_TYPE)
                context.set_response_header(index, "x-batch-size", str(len(items)))
        timing = f"model;dur={(time.monotonic() - begun) * 1e3:.3f}"
        for index in range(len(rows)):
            context.set_response_header(index, "Server-Timing", timing)
        return said

    def _decoded(self, body: bytes, headers: dict[str, str]) -> Any:
        # GET, which brings no type either, is a golden request: /ping says healthy before a worker has loaded anything.
        asked_if_ready = not body and "content-type" not in map(str.lower, headers)
        try:
            return model.decode(self._golden if asked_if_ready else body)
        except ValueError as error:
            return error
