"""Stands in for Docker and for the Triton in its container: as much of both as setups/triton-container asks of them.

`docker compose … up` serves the repository that is mounted until SIGTERM and leaves a file, as the real one leaves a
container; `down` removes it. Written from the protocol's text; it proves nothing about the real ones.
"""

import json
import os
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TYPES = {"FP32": "float32", "INT64": "int64", "UINT8": "uint8"}


def main(words: list[str]) -> None:
    """What the real one would answer, or a server until SIGTERM."""
    left = Path(os.environ.get("TMPDIR", "/tmp"), "container")
    if "up" in words:
        left.write_text(words[words.index("--project-name") + 1])
        files = [Path(words[at + 1]) for at, word in enumerate(words) if word == "--file"]
        mounted = json.loads(files[-1].read_text("utf-8"))["services"]["triton"]["volumes"][0].split(":")
        assert files[0].name == "triton.yaml"
        assert mounted[1:] == ["/models/model/1", "ro"]
        serve(Path(mounted[0]) / "model.onnx", (Path(os.environ["MODELS"]) / "model" / "config.pbtxt").read_text())
    elif "down" in words:
        left.unlink()
    else:
        print("28.0")


def serve(path: Path, config: str) -> None:
    """The model at HTTP_PORT."""
    import onnxruntime  # noqa: PLC0415  not where a version is asked

    session = onnxruntime.InferenceSession(str(path))
    names = re.findall(r'name: "([^"]+)"', config.split("output", 1)[1])
    ThreadingHTTPServer.request_queue_size = 512  # of connections not yet accepted; five would lose some
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["HTTP_PORT"])), type("Bound", (Triton,), {
        "session": session, "names": names}))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


class Triton(BaseHTTPRequestHandler):
    """The Open Inference Protocol with binary tensors."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    session: Any
    names: list[str]

    def do_GET(self) -> None:
        """Metadata, and readiness."""
        self._say(json.dumps({"name": "model", "outputs": [{"name": name} for name in self.names]}).encode())

    def do_POST(self) -> None:
        """One inference."""
        import numpy as np  # noqa: PLC0415

        body = self.rfile.read(int(self.headers["Content-Length"]))
        at = int(self.headers["Inference-Header-Content-Length"])
        asked, feeds = json.loads(body[:at]), {}
        for each in asked["inputs"]:
            size = each["parameters"]["binary_data_size"]
            feeds[each["name"]] = np.frombuffer(body[at:at + size], TYPES[each["datatype"]]).reshape(each["shape"])
            at += size
        names = [each["name"] for each in asked["outputs"]]
        assert set(names) <= set(self.names)
        arrays = self.session.run(names, feeds)
        kinds = {kind: name for name, kind in TYPES.items()}
        head = json.dumps({"outputs": [
            {"name": name, "datatype": kinds[str(array.dtype)], "shape": array.shape,
             "parameters": {"binary_data_size": array.nbytes}} for name, array in zip(names, arrays, strict=True)]})
        self._say(head.encode() + b"".join(array.tobytes() for array in arrays), len(head))

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _say(self, body: bytes, head: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if head:
            self.send_header("Inference-Header-Content-Length", str(head))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    main(sys.argv[1:])
