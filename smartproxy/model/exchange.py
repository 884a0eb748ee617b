"""One request and its answer, without regard to the HTTP version that it came by: what logs, metrics and callables read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from smartproxy.model.outcome import LONGEST_PATH
from smartproxy.wire.http_fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smartproxy.model.address import TargetAddress
    from smartproxy.model.facts import Routed
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.wire.http_framing import Framing
    from smartproxy.wire.http_head import RequestHead
    from smartproxy.wire.verdict import Malformed

#: Fields that logs show.
_SHOWN: Final = ("user-agent", "referer")
#: The status of a request whose client has left before the answer was complete (nginx's).
CLIENT_LEFT = 499
#: The status of a request that has made a tunnel of its connection.
SWITCHED = 101


class RequestTerms(NamedTuple):
    """What follows from the head of a request.

    :ivar framing: of its body, or why it is refused.
    :ivar persists: whether the client wants to send another request on this connection (RFC 9112, 9.3).
    :ivar expects: the values of ``Expect``, in lower case; none in HTTP/1.0.
    :ivar upgrade: the protocol that it asks for, in lower case; empty for none, and where it must not be passed on.
    :ivar lines: what is sent on: without fields of this connection, and without those that say who the client is.
    :ivar refused: the status and the reason, where it is refused whatever its route is.
    :ivar is_traced: whether it has an id, or belongs to a trace.
    :ivar proxy_lines: further fields that say who the client is, which are sent on for a trusted proxy.
    :ivar framing_lines: the fields behind them that frame its body for the target, and ask for :attr:`upgrade`.
    """

    framing: Framing | Malformed
    persists: bool
    expects: tuple[str, ...]
    upgrade: str
    lines: bytes
    framing_lines: bytes
    refused: tuple[int, str] | None = None
    is_traced: bool = False
    proxy_lines: bytes = b""


class Exchange:
    """One request, and what is known of its answer.

    It is also the :class:`~smartproxy.upstream.interfaces.DialProgress` of the connection that is made for it.

    :ivar record: of the client's connection.
    :ivar routed: the facts, with the route of this request.
    :ivar terms: what follows from its head.
    :ivar framing: of the request's body.
    :ivar began_at: when its head was complete, in monotonic seconds.
    :ivar answered_at: when the head of the answer was there; ``None`` before.
    :ivar status: of the answer; ``None`` before.
    :ivar request_bytes: received from the client for it, head and framing included.
    :ivar response_bytes: sent to the client for it, likewise.
    :ivar requests: the counters of its route; ``None`` before it has one of its own.
    :ivar is_over: whether it has ended, in whichever way: no answer is wanted any more.
    :ivar is_reused: whether the connection to the target was used before.
    :ivar header: gives the PROXY header for a target; ``None`` before it is to be answered.
    :ivar is_trusted: whether the client is a proxy whose own fields are believed.
    :ivar id: see :func:`smartproxy.http.tracing.id_of`; empty until it is asked for.
    :ivar params: see :func:`smartproxy.http.templates.captured`; ``None`` until they are asked for.
    :ivar rewritten: the target that is sent on, where the route rewrites it; else empty.
    :ivar detail: why there is no answer of a target, in words; empty where there is one.
    :ivar tunnel_from: bytes that its connection had received and sent when it became a tunnel; ``None`` while it is none.
    """

    __slots__ = (
        "answered_at", "attempts", "began_at", "detail", "dial_seconds", "framing", "head", "header", "id", "is_over", "is_reused",
        "is_trusted", "member", "params", "record", "request_bytes", "requests", "response_bytes", "rewritten",
        "routed", "status", "target", "terms", "tunnel_from",
    )  # fmt: skip

    def __init__(
        self,
        record: ConnectionRecord,
        head: RequestHead,
        terms: RequestTerms,
        framing: Framing,
        routed: Routed,
        now: float,
        size: int,
    ) -> None:
        self.record = record
        self.head = head
        self.terms = terms
        self.framing = framing
        self.routed = routed
        self.began_at = now
        self.answered_at: float | None = None
        self.status: int | None = None
        self.request_bytes = size
        self.response_bytes = 0
        self.requests: Any = None
        self.is_over = False
        self.is_reused = False
        self.is_trusted = False
        self.header: Any = None
        self.id = ""
        self.rewritten = ""
        self.params: Mapping[str, str] | None = None
        self.detail = ""
        self.target: TargetAddress | None = None
        self.attempts = 0
        self.dial_seconds: float | None = None
        self.member: Any = None
        self.tunnel_from: tuple[int, int] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether it counts for its route: it has one of its own."""
        return self.requests is not None

    def unsettled(self) -> tuple[int, int]:
        """Bytes received and sent that are not in those of :attr:`member` yet.

        None of a request that may be sent again, to another target: the bytes of a target only increase.
        """
        if self.status == SWITCHED:
            return (0, 0) if self.tunnel_from is None else self.moved_since(self.tunnel_from)
        may_repeat = self.is_reused and self.answered_at is None
        return (0, 0) if may_repeat else (self.request_bytes, self.response_bytes)

    def forget_content(self) -> None:
        """Drop what was sent on of its head: it has made a tunnel, which may last for days. What logs show is kept."""
        head, terms = self.head, self.terms
        shown = ((name, value[:LONGEST_PATH]) for name in _SHOWN for value in head.fields.noted(name)[:1])
        self.head = head._replace(target="", path=head.path[:LONGEST_PATH], fields=Fields.of(shown))
        self.terms = terms._replace(lines=b"", framing_lines=b"", proxy_lines=b"")
        self.routed, self.rewritten = self.routed.without_request(), ""

    def moved_since(self, before: tuple[int, int]) -> tuple[int, int]:
        """Bytes that its connection has received and sent since it had ``before``."""
        record = self.record
        return record.bytes_received - before[0], record.bytes_sent - before[1]
