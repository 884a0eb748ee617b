"""The two ends of an exchange: what gets the answer, and what gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twisted.internet.interfaces import IReactorTime

    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.model.facts import Routed
    from smartproxy.model.outcome import CloseReason
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing


class TunnelEnd(Protocol):
    """Code of this process at the end of a tunnel, in place of a target."""

    def start(
        self, record: ConnectionRecord, side: Side, routed: Routed, clock: IReactorTime
    ) -> AwaitableEvent[CloseReason]:
        """Serve the connection. Its end happens with the reason."""


class AnswerReceiver(Protocol):
    """Gets the answer of an exchange: the client's connection."""

    def informational(self, head: AnswerHead) -> None:
        """An answer of 1xx; the final one follows."""

    def answer(self, head: AnswerHead, framing: Framing) -> None:
        """The head of the final answer."""

    def answer_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """A part of its body."""

    def answer_flush(self) -> None:
        """No part of the body follows at once."""

    def body_sink(self) -> object | None:
        """The transport that a body of known length may be moved to, behind what was sent; ``None``: it has to be given."""

    def answer_moved(self, count: int) -> None:
        """So many bytes of the body were moved to :meth:`body_sink`."""

    def answer_end(self, trailers: bytes) -> None:
        """Its end."""

    def switch(self, head: bytes, linked: Connected | TunnelEnd) -> None:
        """The target has switched to the protocol that was asked for: ``head`` is the 101, and what came with it; the rest is a tunnel."""

    def failed(self, status: int, detail: str, fields: Mapping[str, str] = ...) -> None:
        """There is no answer, or not all of it. Where nothing was sent yet, the client gets ``status`` with these ``fields``."""

    def pause_request(self) -> None:
        """Read no more of the request's body."""

    def resume_request(self) -> None:
        """Read on."""


class Answerer(Protocol):
    """Answers an exchange: a target, or code in this process."""

    def begin(self) -> None:
        """The head of the request is known."""

    def request_data(self, pieces: Sequence[bytes | memoryview]) -> None:
        """A part of its body."""

    def body_sink(self) -> object | None:
        """The transport that a body of known length may be moved to, behind what was sent; ``None``: it has to be given."""

    def request_end(self, trailers: bytes) -> None:
        """Its end."""

    def client_ended(self) -> None:
        """The client has ended its direction after its request. It may still read the answer, or be gone."""

    def cancel(self) -> None:
        """No answer is wanted any more."""

    def pause_answer(self) -> None:
        """The client does not read: produce no more."""

    def resume_answer(self) -> None:
        """Go on."""
