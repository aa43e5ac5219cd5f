"""An absolute timer with nanosecond resolution for gevent's hub, whose own timers tick in milliseconds."""

import ctypes
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_settime = _libc.timerfd_settime
_settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_CLOCK_MONOTONIC, _ABSOLUTE = 1, 1
_NS = 1_000_000_000


class _Timespecs(ctypes.Structure):
    """struct itimerspec: the interval stays 0, so the timer fires once."""

    _fields_ = (("interval_s", ctypes.c_long), ("interval_ns", ctypes.c_long),
                ("value_s", ctypes.c_long), ("value_ns", ctypes.c_long))


class Timer:
    """A timerfd on CLOCK_MONOTONIC as a context manager; `fire` is called in the hub, again and again until the
    timer is armed anew or disarmed. Raises OSError where the kernel gives none."""

    def __init__(self, loop: Any, fire: Callable[[], None], priority: int = 0) -> None:
        self.fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._value = _Timespecs()
        self._pointer = ctypes.addressof(self._value)
        self._watcher = loop.io(self.fd, 1)
        self._watcher.priority = priority
        self._watcher.start(fire)

    def arm(self, at_ns: int) -> None:
        """Fire once the monotonic clock reads `at_ns`; replaces what was armed."""
        self._value.value_s, self._value.value_ns = divmod(at_ns, _NS)
        _settime(self.fd, _ABSOLUTE, self._pointer, None)

    def disarm(self) -> None:
        """Do not fire."""
        self._value.value_s = self._value.value_ns = 0
        _settime(self.fd, 0, self._pointer, None)

    def __enter__(self) -> "Timer":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._watcher.stop()
        self._watcher.close()
        os.close(self.fd)
