"""One request and its answer, without regard to the HTTP version that it came by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smartproxy.model.address import Endpoint
    from smartproxy.model.facts import Routed
    from smartproxy.upstream.connected import Connected
    from smartproxy.wire.http_answer import AnswerHead
    from smartproxy.wire.http_framing import Framing
    from smartproxy.wire.http_head import RequestHead


class Exchange:
    """One request, and what is known of its answer.

    It is also the :class:`~smartproxy.upstream.interfaces.DialProgress` of the connection that is made for it.

    :ivar framing: of the request's body.
    :ivar status: of the answer; ``None`` before.
    :ivar is_over: whether it has ended, in whichever way: no answer is wanted any more.
    """

    __slots__ = (
        "attempts", "dial_seconds", "framing", "head", "is_over", "member", "routed", "status", "target",
    )  # fmt: skip

    def __init__(self, head: RequestHead, framing: Framing, routed: Routed) -> None:
        self.head = head
        self.framing = framing
        self.routed = routed
        self.status: int | None = None
        self.is_over = False
        self.target: Endpoint | None = None
        self.attempts = 0
        self.dial_seconds: float | None = None
        self.member: object = None


class AnswerReceiver(Protocol):
    """Gets the answer of an exchange: the client's connection."""

    def informational(self, head: AnswerHead) -> None:
        """An answer of 1xx; the final one follows."""

    def answer(self, head: AnswerHead, framing: Framing) -> None:
        """The head of the final answer."""

    def answer_data(self, pieces: Sequence[memoryview]) -> None:
        """A part of its body."""

    def answer_flush(self) -> None:
        """No part of the body follows at once."""

    def answer_end(self, trailers: bytes) -> None:
        """Its end."""

    def switch(self, head: bytes, linked: Connected) -> None:
        """The target has switched to the protocol that was asked for: ``head`` is the 101, and the rest is a tunnel."""

    def failed(self, status: int, detail: str) -> None:
        """There is no answer, or not all of it. ``status`` is what the client gets where nothing was sent yet."""

    def pause_request(self) -> None:
        """Read no more of the request's body."""

    def resume_request(self) -> None:
        """Read on."""


class Answerer(Protocol):
    """Answers an exchange: a target, or code in this process."""

    def begin(self) -> None:
        """The head of the request is known."""

    def request_data(self, pieces: Sequence[memoryview]) -> None:
        """A part of its body."""

    def request_end(self, trailers: bytes) -> None:
        """Its end."""

    def cancel(self) -> None:
        """No answer is wanted any more."""

    def pause_answer(self) -> None:
        """The client does not read: produce no more."""

    def resume_answer(self) -> None:
        """Go on."""
