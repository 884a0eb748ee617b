"""A connection to a target, until it has ended, and those alike that are idle."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smartproxy.model.address import UnixEndpoint
from smartproxy.upstream.group_requests import GroupRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.record import ConnectionRecord
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.group import Group
    from smartproxy.upstream.member import Member

_HTTP, _HTTPS = 80, 443


class Connected:
    """A connection to a target, with its TLS established where the target has any.

    :param candidate: the one whose turn it was.
    :param group: ``None`` where the connection takes no turn.
    :ivar target: where it goes: of a candidate that is chosen for each connection, what was chosen.
    :ivar host: the name or address that was connected to: of a host that is chosen for each connection, what was chosen.
    :ivar header: PROXY header that is still to be sent, before the client's bytes.
    :ivar exchanged: payload bytes already sent to the target, and already received from it.
    :ivar is_reused: whether it was idle before.
    :ivar alike: the idle connections that it joins when it is idle; ``None``: it is used for one request.
    :ivar idle_until: until when it is kept there, in monotonic seconds.
    :ivar reader: what speaks HTTP on it, from its first request on; ``None`` before.
    :ivar on_closed: to be called when the connection has ended: its TLS session may be used again.
    """

    __slots__ = (
        "_candidate", "_group", "_requests", "address", "alike", "exchanged", "header", "host", "idle_until", "is_reused", "on_closed",
        "reader", "side",
        "target",
    )  # fmt: skip

    def __init__(
        self,
        side: Side,
        address: TargetAddress,
        target: TargetPlan,
        candidate: Candidate,
        group: Group | None,
        header: bytes,
        host: str | UnixEndpoint,
    ) -> None:
        self.side = side
        self.host = host
        self.address = address
        self.target = target
        self.header = header
        self.exchanged = (0, 0)
        self.is_reused = False
        self.alike: IdleConnections | None = None
        self.idle_until = 0.0
        self.reader: object = None
        self.on_closed: Callable[[], None] = _nothing
        self._candidate = candidate
        self._group = group
        self._requests: GroupRequests | None = None

    @property
    def authority(self) -> str:
        """The value of Host: without the port that is the default. That of a unix socket is ``localhost``."""
        if isinstance(self.address, UnixEndpoint):
            return "localhost"
        host = self.target.known_as or str(self.host)
        host = f"[{host}]" if ":" in host else host
        port = self.address.port
        return host if port == (_HTTP if self.target.tls is None else _HTTPS) else f"{host}:{port}"

    @property
    def member(self) -> Member:
        """The member of the group that it is connected to."""
        return self._candidate.member

    @property
    def first(self) -> tuple[bytes, tuple[int, int]]:
        """What a relay has to know: :attr:`header`, and :attr:`exchanged`."""
        return self.header, self.exchanged

    def also_on_closed(self, call: Callable[[], None]) -> None:
        """Call ``call`` too when the connection has ended."""
        self.on_closed = partial(_call_both, self.on_closed, call)

    def begin_request(self) -> None:
        """It carries an HTTP request from now on, until :meth:`end_request` or :meth:`release`."""
        if self._group is not None:
            counts = self._group.requests
            if counts is None:
                counts = self._group.requests = GroupRequests()
            counts.active += 1
            self._requests = counts

    def end_request(self) -> None:
        """It carries none any more."""
        counts, self._requests = self._requests, None
        if counts is not None:
            counts.active -= 1

    def retried(self) -> None:
        """The request on it is sent again on another connection."""
        if self._group is not None and self._group.requests is not None:
            self._group.requests.retries += 1

    def answered_badly(self, why: str) -> None:
        """What it answered to a request is no HTTP, or it has ended before an answer. ``why`` is one line of ASCII."""
        if self._group is not None:
            self._group.answered_badly(self._candidate, why)

    def closed(self, record: ConnectionRecord) -> None:
        """The connection has ended. Its bytes are added to those of the target, and are not counted as those of a live one."""
        record.member = None
        self.release(record.bytes_received, record.bytes_sent)
        self.on_closed()

    def close(self) -> None:
        """Close the connection, and release what was kept for it. Its use has ended before."""
        self.detach()
        self.side.transport.loseConnection()
        self.on_closed()

    def abort(self) -> None:
        """The same with a reset."""
        self.detach()
        self.side.transport.abortConnection()
        self.on_closed()

    def detach(self) -> None:
        """Take it from its reader."""
        self.side.receiver = self.reader = None
        self.side.transport.unregisterProducer()

    def use_again(self, candidate: Candidate, group: Group | None) -> None:
        """It was idle, and is used for ``candidate`` now, which is of the same member."""
        self.is_reused = True
        self.header = b""
        self._candidate = candidate
        self._group = group

    def release(self, received: int, sent: int) -> None:
        """End its use, for which so many bytes of payload were sent to the target, and received from it."""
        if self._requests is not None:
            self.end_request()
        member = self._candidate.member
        member.received += received
        member.sent += sent
        if self._group is not None:
            self._group.release(self._candidate)


class IdleConnections:
    """Connections that may be used for each other's requests. It lives as long as one of them, or a candidate for it.

    :ivar waiting: those that are idle, the one that was used last at the end.
    """

    __slots__ = ("__weakref__", "_deadlines", "_due", "waiting")

    def __init__(self, deadlines: Deadlines) -> None:
        self.waiting: list[Connected] = []
        self._deadlines = deadlines
        self._due: Deadline | None = None

    def put(self, connected: Connected, seconds: float, most: int) -> None:
        """Keep a connection."""
        until = connected.idle_until = self._deadlines.now() + seconds
        self.waiting.append(connected)
        if self._due is None or until < self._due.due:
            self._set(seconds)
        if len(self.waiting) > most:
            self.close(self.waiting[0])

    def close(self, connected: Connected) -> None:
        """Close an idle connection."""
        self.waiting.remove(connected)
        connected.close()

    def close_all(self) -> None:
        """Close all."""
        for connected in list(self.waiting):
            self.close(connected)
        self._set(0)

    def _set(self, seconds: float) -> None:
        """One deadline for all: that of the first that is due."""
        due, self._due = self._due, None
        if due is not None:
            due.cancel()
        if seconds:
            self._due = self._deadlines.call_later(seconds, self._expired)

    def _expired(self) -> None:
        self._due = None
        now = self._deadlines.now()
        for connected in [each for each in self.waiting if each.idle_until <= now]:
            self.close(connected)
        if self.waiting:
            self._set(min(each.idle_until for each in self.waiting) - now)


def _nothing() -> None:
    """A connection without TLS has no session to keep."""


def _call_both(first: Callable[[], None], second: Callable[[], None]) -> None:
    first()
    second()
