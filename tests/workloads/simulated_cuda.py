"""CUDA's rules on PyTorch's CPU device: what accelerator/cuda.py does runs, and what CUDA would not forgive is said.

Every operator is computed at once, and noted on the stream it was started in. Two streams, or a stream and the host,
that touch the same memory without an event between them are a race: `races` names it (vector clocks, Mattern 1989; so
does torch.cuda._sanitizer on a device). A captured graph is a list of operators that are run again on the same memory;
a capture leaves rubbish in its own outputs, a replay in those of all other graphs of the pool. What stops a capture on
a device stops it here: numbers asked of the device, copies from the host.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

HOST = 0
aten = torch.ops.aten
FORBIDDEN = ("aten._local_scalar_dense", "aten.nonzero", "aten.item", "aten.masked_select")


class Stream(torch.Stream):
    """Known by its number."""

    def __new__(cls, number: int) -> "Stream":
        return super().__new__(cls, stream_id=number, device_index=0, device_type=0)


class Memory:
    """Who wrote it last, who has read it since, whether it lies on the device, and who may use it when it goes."""

    def __init__(self, storage: torch.UntypedStorage, made_by: int, on_device: bool, pinned: bool = False) -> None:
        self.alive, self.made_by, self.on_device, self.pinned = StorageWeakRef(storage), made_by, on_device, pinned
        self.written: tuple[int, int] | None = None
        self.read: dict[int, int] = {}
        self.users: dict[int, int] = {}
        self.recorded: set[int] = set()


class Cuda(TorchDispatchMode):
    """Stands for `torch.cuda` while it is entered. `deaf`: a stream that is told to wait does not. `refuses`: captures
    fail."""

    def __init__(self, deaf: bool = False, refuses: bool = False) -> None:
        super().__init__()
        self.races: list[str] = []
        self.deaf, self.refuses, self.captured = deaf, refuses, 0
        self.clocks: dict[int, dict[int, int]] = {HOST: {}, 1: {}}
        self.current, self._recording, self._raw = 1, None, False
        self._memory: dict[int, Memory] = {}
        self._graphs: list[CUDAGraph] = []

    # What of torch.cuda is used, in its own names.

    def Stream(self, device: torch.device) -> "Stream":  # noqa: N802, ARG002 torch's name and argument
        number = len(self.clocks)
        self.clocks[number] = {}
        return _Waiting.made(number, self)

    def Event(self, enable_timing: bool = False, blocking: bool = False) -> "Event":  # noqa: N802, ARG002 as above
        return Event(self, enable_timing)

    def CUDAGraph(self) -> "CUDAGraph":  # noqa: N802 as above
        return CUDAGraph(self)

    def graph_pool_handle(self) -> tuple[int, int]:
        return 0, 1

    def synchronize(self) -> None:
        if self._recording is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        for clock in list(self.clocks.values()):
            self._join(HOST, clock)

    @contextmanager
    def stream(self, stream: "Stream") -> Iterator[None]:
        self.sweep()
        before, self.current = self.current, stream.stream_id
        try:
            yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph: "CUDAGraph", pool: tuple[int, int] | None = None, stream: "Stream | None" = None,
              capture_error_mode: str = "global") -> Iterator[None]:
        assert None not in (pool, stream)
        assert capture_error_mode == "thread_local"
        self.synchronize()
        self._recording = graph.operators
        try:
            with self.stream(stream):
                yield
        finally:
            self._recording = None
        if self.refuses:
            raise RuntimeError("CUDA error: operation not permitted\nand more words")
        self.captured += 1
        self._graphs.append(graph)
        graph.spoil()       # nothing was computed while it was captured

    # What happens on the streams.

    def tick(self, who: int) -> int:
        clock = self.clocks[who]
        clock[who] = clock.get(who, 0) + 1
        return clock[who]

    def _join(self, who: int, other: dict[int, int]) -> None:
        mine = self.clocks[who]
        for each, at in other.items():
            mine[each] = max(mine.get(each, 0), at)

    def _before(self, who: int, event: tuple[int, int]) -> bool:
        return self.clocks[who].get(event[0], 0) >= event[1]

    def memory(self, tensor: torch.Tensor, made_by: int = HOST, on_device: bool = False) -> Memory:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._memory:
            self._memory[key] = Memory(storage, made_by, on_device)
        return self._memory[key]

    def sweep(self) -> None:
        """Forgets what was freed. PyTorch gives memory of the device again to the stream that made it: any other that
        may still use it must have been named to it."""
        for key in [key for key, memory in self._memory.items() if memory.alive.expired()]:
            gone = self._memory.pop(key)
            late = [each for each in gone.users.items() if each[0] not in (HOST, *gone.recorded)
                    and not self._before(gone.made_by, each) and not self._before(HOST, each)]
            if gone.on_device and late:
                self.races.append(f"freed while stream {late[0][0]} may use it; record_stream was not called")

    def touch(self, who: int, name: str, reads: list[torch.Tensor], writes: list[torch.Tensor],
              on_device: bool) -> None:
        """Notes an operator on a stream, and what it races with."""
        at = self.tick(who)
        for tensor in reads:
            seen = self.memory(tensor)
            if seen.written is not None and not self._before(who, seen.written):
                self.races.append(f"{name} on {who} reads what {seen.written[0]} may still write")
            seen.read[who] = seen.users[who] = at
        for tensor in writes:
            seen = self.memory(tensor, who, on_device)
            if seen.written is not None and not self._before(who, seen.written):
                self.races.append(f"{name} on {who} writes what {seen.written[0]} may still write")
            late = [reader for reader, then in seen.read.items() if not self._before(who, (reader, then))]
            if late:
                self.races.append(f"{name} on {who} writes what {late[0]} may still read")
            seen.written, seen.read = (who, at), {}
            seen.users[who] = at

    def look(self, tensor: torch.Tensor) -> None:
        """The host reads it."""
        self.touch(HOST, "the host", [tensor], [], False)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if self._raw:
            return func(*args, **kwargs)
        name = str(func)
        if func is aten.record_stream.default:
            self.memory(args[0]).recorded.add(args[1].stream_id)
            return None
        pinned = kwargs.get("pin_memory") is True
        kwargs |= {"pin_memory": False} if pinned else {}
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        landed = func is aten.copy_.default and self._pinned(args[0])
        inward = func is aten._to_copy.default and kwargs.get("device") is not None
        on_device = inward or any(self.memory(each).on_device for each in given)
        forbidden = not self.memory(args[0]).on_device if inward else on_device and name.startswith(FORBIDDEN)
        if self._recording is not None and forbidden:
            raise RuntimeError(f"{name}: operation not permitted when stream is capturing")
        if inward and kwargs.get("non_blocking") and not self._pinned(args[0]):
            self.races.append("a copy that should not block is of memory that is not pinned")
        who = self.current if on_device else HOST
        if on_device:
            self._join(who, self.clocks[HOST])      # started after all that the host has done
        result = func(*args, **kwargs)
        made = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        storages = {each.untyped_storage()._cdata for each in given}
        fresh = [each for each in made if each.untyped_storage()._cdata not in storages]
        views = len(made) > 0 and not fresh
        changed = [args[0]] if func._schema.is_mutable else []
        if not views or changed:
            self.touch(who, name, given[len(changed):], [*fresh, *changed], on_device and not landed)
        if pinned:
            self.memory(made[0]).pinned = True
        if self._recording is not None and on_device:
            self._recording.append((func, args, kwargs, result, bool(fresh)))
        if on_device and (inward or name.startswith("aten._local_scalar_dense")) and not kwargs.get("non_blocking"):
            self._join(HOST, self.clocks[who])      # the host waits for it
        return result

    def _pinned(self, tensor: torch.Tensor) -> bool:
        return self.memory(tensor).pinned

    @contextmanager
    def raw(self) -> Iterator[None]:
        """Computes without a note."""
        self._raw = True
        yield
        self._raw = False


class _Waiting(Stream):
    """A stream that can be told to wait."""

    @classmethod
    def made(cls, number: int, cuda: Cuda) -> "_Waiting":
        made = cls(number)
        made.cuda = cuda
        return made

    def wait_event(self, event: "Event") -> None:
        if not self.cuda.deaf:
            self.cuda._join(self.stream_id, event.clock)


class Event:
    """What was started in a stream so far."""

    def __init__(self, cuda: Cuda, timing: bool) -> None:
        self.cuda, self.timing, self.clock, self.at_s = cuda, timing, None, 0.0

    def record(self) -> None:
        self.cuda.tick(self.cuda.current)
        self.clock, self.at_s = dict(self.cuda.clocks[self.cuda.current]), perf_counter()

    def synchronize(self) -> None:
        self.cuda._join(HOST, self.clock)

    def elapsed_time(self, end: "Event") -> float:
        host = self.cuda.clocks[HOST]
        if not (self.timing and end.timing):
            raise RuntimeError("the event was created without timing")
        if any(host.get(who, 0) < at for each in (self, end) for who, at in each.clock.items()):
            raise RuntimeError("CUDA error: device not ready")
        return (end.at_s - self.at_s) * 1e3


class CUDAGraph:
    """Operators on memory that stays where it is."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.operators = cuda, []

    def replay(self) -> None:
        cuda = self.cuda
        cuda._join(cuda.current, cuda.clocks[HOST])
        made = self._made()
        inside = {each.untyped_storage()._cdata for each in made}
        given = [each for _, args, kwargs, _, _ in self.operators for each in tree_leaves((args, kwargs))
                 if isinstance(each, torch.Tensor) and each.untyped_storage()._cdata not in inside]
        cuda.touch(cuda.current, "a replay", given, made, True)
        with cuda.raw():
            for func, args, kwargs, result, fresh in self.operators:
                again = func(*args, **kwargs)
                if fresh:
                    for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                        if isinstance(old, torch.Tensor):
                            old.copy_(new)
        for other in cuda._graphs:
            if other is not self:
                other.spoil()

    def spoil(self) -> None:
        """What it computed lies in memory that other graphs use as well."""
        with self.cuda.raw():
            for each in self._made():
                each.fill_(float("nan") if each.is_floating_point() else 77)

    def _made(self) -> list[torch.Tensor]:
        return [each for *_, result, fresh in self.operators if fresh for each in tree_leaves(result)
                if isinstance(each, torch.Tensor)]
