"""The harness's hands in a workload's own environment: it writes payloads, judges answers, knows the golden ones."""

import base64
import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.catalog.discover import cache_folder
from harness.catalog.workload import Workload
from harness.errors import TailraceError
from harness.run.content import hash_paths, made_once
from harness.run.environments import Environment
from harness.run.pipes import Lines

if TYPE_CHECKING:
    from harness.run.prepare import Prepared

_SCRIPT = Path(__file__).with_name("agent_script.py")
_POOL = "pool"
_SUFFIXES = (".bin", ".offsets.npy", ".truths.json")
_QUIET_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
                    "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1"}


class Agent:
    """One process that runs a workload's code, niced, with one thread; it ends with the harness, however that ends.

    Every method raises TailraceError with one sentence when the workload's code fails, does not answer in `timeout_s`,
    or takes the process down.
    """

    def __init__(self, workload: Workload, prepared: "Prepared", environment: Environment,
                 timeout_s: float = 600.0) -> None:
        self._workload = workload
        self._prepared = prepared
        self._environment = environment
        self._timeout_s = timeout_s

    def __enter__(self) -> Self:
        variables = {**os.environ, **_QUIET_VARIABLES,
                     "PYTHONPATH": ":".join(str(folder) for folder in self._workload.imports)}
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            # -P: the script's own folder must not lend its modules to the workload's imports.
            [self._environment.python, "-P", "-B", _SCRIPT, self._workload.folder, self._prepared.folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=variables, start_new_session=True)
        self._lines = Lines()
        self._lines.add("agent", _handle(self._process.stdout))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._lines.close()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()

    def content_type(self) -> str:
        """The Content-Type of request bodies."""
        return str(self._ask("content_type"))

    def payload_files(self, seed: int, profile: str, count: int, prefix: Path) -> None:
        """Makes `<prefix>.bin` (bodies end to end), `<prefix>.offsets.npy` (int64[count+1]) and `<prefix>.truths.json`:
        links to a pool in the cache, which is written once per workload, seed, profile and count."""
        name = hash_paths([], self._prepared.hash, str(seed), profile, str(count))

        def write(scratch: Path) -> None:
            self._ask("payloads", seed=seed, profile=profile, count=count, prefix=str(scratch / _POOL))

        pool = made_once(cache_folder() / "payloads" / name, write)
        prefix.parent.mkdir(parents=True, exist_ok=True)
        for suffix in _SUFFIXES:
            link = Path(f"{prefix}{suffix}")
            link.unlink(missing_ok=True)
            link.symlink_to(pool / f"{_POOL}{suffix}")

    def judge(self, prefix: Path, answers: Sequence[tuple[int, bytes]]) -> list[str]:
        """For each (index into the pool, answer's body): "" when it is right, else why it is wrong."""
        return self._reasons("judge", answers, prefix=str(prefix))

    def same(self, answers: Sequence[tuple[int, bytes]]) -> list[str]:
        """For each (index into the golden answers, answer's body): "" when it is the golden one, else why not."""
        return self._reasons("same", answers)

    def alike(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[str]:
        """For each (answer's body, another answer's to the same item): "" when they are the same, else why not."""
        encoded = [[base64.b64encode(answer).decode() for answer in pair] for pair in pairs]
        return [str(reason) for reason in self._ask("alike", pairs=encoded)]

    def golden(self) -> list[tuple[bytes, Any]]:
        """(request body, golden answer as JSON value) of golden.json, in its order."""
        return [(base64.b64decode(body), answer) for body, answer in self._ask("golden")]

    def prove(self) -> list[str]:
        """For each golden answer: "" when the model itself gives it, alone and in a batch, else why not."""
        return [str(reason) for reason in self._ask("prove")]

    def _reasons(self, verb: str, answers: Sequence[tuple[int, bytes]], **more: str) -> list[str]:
        encoded = [(int(index), base64.b64encode(answer).decode()) for index, answer in answers]
        return [str(reason) for reason in self._ask(verb, answers=encoded, **more)]

    def _ask(self, verb: str, **arguments: Any) -> Any:
        line = json.dumps({"do": verb, **arguments}) + "\n"
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        for heard in self._lines.wait(self._timeout_s):
            if heard.message is None:
                raise self._failed(f"its code ended the process with {self._process.wait()}: {self._last_words()}")
            if "error" in heard.message:
                raise self._failed(str(heard.message["error"]))
            return heard.message["value"]
        self._process.kill()
        raise self._failed(f"no answer to '{verb}' in {self._timeout_s:g} s")

    def _failed(self, why: str) -> TailraceError:
        return TailraceError(f"workload '{self._workload.name}': {why}",
                             f"correct the code in {self._workload.folder}")

    def _last_words(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _handle(stream: Any) -> int:
    assert stream
    return int(stream.fileno())
