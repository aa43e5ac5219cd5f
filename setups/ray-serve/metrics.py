"""What Ray's metrics say of Serve, at a port of its own: the rest, half a megabyte about Ray itself, is left out."""

import http.server
import re
import threading
import urllib.request

TIMEOUT_S = 4
OF_SERVE = re.compile(r"^(?:# (?:HELP|TYPE) )?ray_serve_.*\n", re.MULTILINE)


def serve_metrics(host: str, port: int, rays_port: int) -> None:
    """Returns at once; GET is answered until the process ends."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                with urllib.request.urlopen(f"http://{host}:{rays_port}/metrics", timeout=TIMEOUT_S) as answer:
                    status, text = 200, answer.read().decode()
            except OSError as error:
                status, text = 503, f"# Ray's agent does not answer: {error}\n"
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write("".join(OF_SERVE.findall(text)).encode() if status == 200 else text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
