"""One question at a time to a running setup, in its own protocol: readiness and predictions, never load."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.catalog.setup import Setup
from harness.protocols.codec import Codec
from harness.run.agent import Agent
from harness.run.exchange import FAILURES, NotOfProtocolError, Reply, exchange, kept_open
from harness.run.unary import call, channel

_OK = 200
_NOT_READY = 503


@dataclass(frozen=True)
class Wire:
    """How the setup that listens on `port` is spoken to; `content_type` is the workload's. Methods raise one of
    exchange.FAILURES when there is no answer, also for one that is not of the protocol."""

    setup: Setup
    port: int
    content_type: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What every prediction carries."""
        codec = self.setup.codec
        return {"Content-Type": codec.content_type(self.content_type), **codec.headers}

    def ready(self, timeout_s: float) -> Reply:
        """The answer to "are you ready?": 200 when it is."""
        codec = self.setup.codec
        if codec.transport == "http":
            return exchange(self.port, self.setup.ready, timeout_s=timeout_s)
        with channel(self.port) as opened:
            reply = call(opened, self.setup.ready, codec.probe, timeout_s)
        # A message without `ready: true` is empty.
        return reply if reply.status != _OK or reply.body else Reply(_NOT_READY, {}, b"the model is not ready")

    def server_version(self, timeout_s: float) -> dict[str, str]:
        """Name -> version of the server, as it says itself; {} where its protocol has no question for that or it gives
        no answer."""
        if not self.setup.codec.metadata:
            return {}
        with suppress(*FAILURES, ValueError):
            reply = self._metadata(timeout_s)
            name, version = self.setup.codec.server(reply.body) if reply.status == _OK else ("", "")
            return {name: version} if name and version else {}
        return {}

    def _metadata(self, timeout_s: float) -> Reply:
        codec = self.setup.codec
        if codec.transport == "http":
            return exchange(self.port, codec.metadata, timeout_s=timeout_s)
        with channel(self.port) as opened:
            return call(opened, codec.metadata, b"", timeout_s)

    def predict(self, body: bytes, timeout_s: float) -> Reply:
        """The answer to one prediction on a connection of its own; a 200's body is the workload's answer."""
        with self.connected(timeout_s) as ask:
            return ask(body)

    @contextmanager
    def connected(self, timeout_s: float) -> Iterator[Callable[[bytes], Reply]]:
        """A function that predicts, one request after another on one connection; connecting is its first call's."""
        codec, path = self.setup.codec, self.setup.predict
        if codec.transport == "grpc":
            with channel(self.port) as opened:
                yield lambda body: self.unwrapped(call(opened, path, codec.wrap(body, self.content_type), timeout_s))
        else:
            with kept_open(self.port, timeout_s) as ask:
                yield lambda body: self.unwrapped(ask(path, codec.wrap(body, self.content_type), self.headers))

    def unwrapped(self, reply: Reply) -> Reply:
        """The reply with the workload's answer as its body; one that is no 200 stays as it is."""
        if reply.status != _OK:
            return reply
        try:
            return reply._replace(body=self.setup.codec.unwrap(reply.body, reply.headers))
        except ValueError as error:
            raise NotOfProtocolError(f"the answer is not of the protocol {self.setup.codec.name}: {error}") from None


def judged(agent: Agent, codec: Codec, payloads: Path, answers: Sequence[tuple[int, bytes]]) -> list[str]:
    """For each (index into the pool, answer's body as it came): "" when it is right, else why it is wrong. Raises
    TailraceError."""
    said = [""] * len(answers)
    plain: list[tuple[int, int, bytes]] = []
    for at, (index, body) in enumerate(answers):
        try:
            plain.append((at, index, codec.unwrap(body, {})))
        except ValueError as error:
            said[at] = str(error) or type(error).__name__
    for (at, _, _), why in zip(plain, agent.judge(payloads, [(index, body) for _, index, body in plain]), strict=True):
        said[at] = why
    return said
