"""What a starter asks of loopback: ports that are free, and whether a server of its own is ready."""

import http.client
import os
import socket
from contextlib import ExitStack

ANSWER_S = 2


def free_ports(count: int) -> list[int]:
    """Different ports that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((os.environ["HOST"], 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def is_ready(port: int, path: str) -> bool:
    """Whether GET is answered with 200."""
    connection = http.client.HTTPConnection(os.environ["HOST"], port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
