"""One request and its answer, without regard to the HTTP version that it came by: what logs, metrics and callables read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.facts import Routed
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.wire.http_framing import Framing
    from smartproxy.wire.http_head import RequestHead

#: The status of a request whose client has left before the answer was complete (nginx's).
CLIENT_LEFT = 499


class Exchange:
    """One request, and what is known of its answer.

    It is also the :class:`~smartproxy.upstream.interfaces.DialProgress` of the connection that is made for it.

    :ivar record: of the client's connection.
    :ivar routed: the facts, with the route of this request.
    :ivar framing: of the request's body.
    :ivar began_at: when its head was complete, in monotonic seconds.
    :ivar answered_at: when the head of the answer was there; ``None`` before.
    :ivar status: of the answer; ``None`` before.
    :ivar request_bytes: received from the client for it, head and framing included.
    :ivar response_bytes: sent to the client for it, likewise.
    :ivar is_counted: whether it counts for its route: it has one of its own.
    :ivar is_over: whether it has ended, in whichever way: no answer is wanted any more.
    :ivar is_reused: whether the connection to the target was used before.
    :ivar detail: why there is no answer of a target, in words; empty where there is one.
    """

    __slots__ = (
        "answered_at", "attempts", "began_at", "detail", "dial_seconds", "framing", "head", "is_counted", "is_over", "is_reused",
        "member", "record", "request_bytes", "response_bytes", "routed", "status", "target",
    )  # fmt: skip

    def __init__(
        self, record: ConnectionRecord, head: RequestHead, framing: Framing, routed: Routed, now: float
    ) -> None:
        self.record = record
        self.head = head
        self.framing = framing
        self.routed = routed
        self.began_at = now
        self.answered_at: float | None = None
        self.status: int | None = None
        self.request_bytes = self.response_bytes = 0
        self.is_counted = False
        self.is_over = False
        self.is_reused = False
        self.detail = ""
        self.target: TargetAddress | None = None
        self.attempts = 0
        self.dial_seconds: float | None = None
        self.member: object = None
