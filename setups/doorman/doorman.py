"""A first process that stands between the signals meant for the whole group and the server behind it."""

import contextlib
import ctypes
import os
import signal

from replica.lifeline import PR_SET_PDEATHSIG


def stay_behind_doorman() -> None:
    """Returns in a child with a session of its own. The calling process stays as the doorman: it hands SIGTERM on to
    that child alone, ends when the child ends, with its code, and takes what is left of its group with it. When the
    doorman is killed, the child hears SIGTERM all the same.

    Call it before any thread is started.
    """
    doorman = os.getpid()
    server = os.fork()
    if server == 0:
        os.setsid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != doorman:
            os._exit(1)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.kill(server, signal.SIGTERM))
    _, status = os.waitpid(server, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    os._exit(abs(os.waitstatus_to_exitcode(status)))
