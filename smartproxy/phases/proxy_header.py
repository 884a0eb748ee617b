"""Identification of the client: the peer itself, or the client that a trusted peer announces in a PROXY header.

From a peer outside of ``proxyIPs`` a header is payload, always: the address in it is never read. A second header behind
the first is payload, too.

Where a header is optional, a trusted peer that sends nothing in time is taken as a direct client: its server may speak
first. It may still send a header later, but limits and lists have been checked for the peer by then. So its first bytes
are inspected, whenever they are received, before they are buffered or forwarded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DeadlineExpired, PeerClosed, Refused
from smartproxy.flow.side import Screen
from smartproxy.model.address import Endpoint
from smartproxy.model.facts import Accepted, Announced
from smartproxy.model.outcome import EndedBy, RejectReason
from smartproxy.model.plan import AcceptHeader
from smartproxy.wire import proxy_detect
from smartproxy.wire.verdict import Malformed, NeedMore

if TYPE_CHECKING:
    from collections.abc import Container

    from smartproxy.flow.deadline import Deadline, Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.metrics.counters import Counters
    from smartproxy.wire.proxy_header import ProxyHeader


class _LateHeader(Screen):
    """Refuses a header that is received after ``proxyHeaderTimeout``.

    :param timeout: seconds in which bytes that may be the beginning of a header must be complete.
    """

    def __init__(self, side: Side, timeout: float, deadlines: Deadlines, counters: Counters) -> None:
        super().__init__(
            side, RejectReason.PROXY_HEADER_TIMEOUT, f"received after {timeout:g} s (proxyHeaderTimeout)"
        )
        self._timeout = timeout
        self._deadlines = deadlines
        self._counters = counters
        self._due: Deadline | None = None

    def judge(self, begin: bytes) -> bool | None:
        """Whether ``begin`` is payload; ``None`` while it may be the beginning of a header."""
        begins = proxy_detect.begins_header(begin)
        if begins is None:
            if self._due is None:
                self._due = self._deadlines.call_later(self._timeout, self.refuse)
            return None
        return not begins

    def refuse(self) -> None:
        """Count the header, and end the connection."""
        self._counters.proxy_header("none", "timeout")
        super().refuse()

    def decided(self) -> None:
        """Cancel the deadline."""
        if self._due is not None:
            self._due.cancel()


class ReadProxyHeader:
    """Reads the header of trusted peers.

    :param trusted: the peers whose headers are read.
    :param timeout: seconds in which a header must be complete.
    """

    def __init__(
        self,
        trusted: Container[str] | None,
        accept: AcceptHeader,
        timeout: float,
        deadlines: Deadlines,
        counters: Counters,
    ) -> None:
        self._trusted = trusted if accept is not AcceptHeader.NEVER else None
        self._required = accept is AcceptHeader.REQUIRE
        self._timeout = timeout
        self._deadlines = deadlines
        self._counters = counters

    async def __call__(self, side: Side, accepted: Accepted) -> Announced:
        """The facts with the client. What stays in ``side.buffered`` is payload.

        :raises Refused: for a header that is malformed, incomplete in time, or missing where it is required.
        """
        if self._trusted is None or accepted.peer.host not in self._trusted:
            return Announced(accepted, accepted.peer)
        header = await self._header(side)
        if header is None:
            return self._direct(side, accepted)
        self._counters.proxy_header("1" if header.version == 1 else "2", "ok")
        if header.source is None:
            return Announced(accepted, accepted.peer, header)
        return Announced(accepted, Endpoint(*header.source), header)

    def _direct(self, side: Side, accepted: Accepted) -> Announced:
        self._counters.proxy_header("none", "missing")
        if self._required:
            raise Refused(RejectReason.PROXY_HEADER_MISSING, self._missing(side))
        return Announced(accepted, accepted.peer)

    def _missing(self, side: Side) -> str:
        if side.buffered:
            return "the first bytes are no PROXY header, which acceptProxyProtocol requires"
        silent = "and disconnected" if side.ended else f"in {self._timeout:g} s (proxyHeaderTimeout)"
        return f"the peer sent nothing {silent}"

    async def _header(self, side: Side) -> ProxyHeader | None:
        """The header at the start of ``side``, consumed; ``None`` where there is none."""
        due = self._deadlines.call_later(self._timeout, side.expire) if self._timeout else None
        try:
            while True:
                verdict = proxy_detect.parse(side.buffered)
                if isinstance(verdict, Malformed):
                    self._counters.proxy_header("none", "invalid")
                    raise Refused(RejectReason.PROXY_HEADER_INVALID, verdict.why)
                if not isinstance(verdict, NeedMore):
                    side.consume(verdict.consumed)
                    return verdict.value
                await side.wait_for(verdict.at_least)
        except (DeadlineExpired, PeerClosed) as cut:
            self._cut_short(side, cut)
            return None
        finally:
            if due is not None:
                due.cancel()

    def _cut_short(self, side: Side, cut: DeadlineExpired | PeerClosed) -> None:
        """A peer that sent nothing is a direct client, whose first bytes are screened; part of a header is refused."""
        if not side.buffered:
            if isinstance(cut, DeadlineExpired) and not self._required:
                _LateHeader(side, self._timeout, self._deadlines, self._counters)
            return
        if isinstance(cut, PeerClosed):
            self._counters.proxy_header("none", "invalid")
            why = "the peer sent a FIN within the header"
            raise Refused(RejectReason.PROXY_HEADER_INVALID, why, EndedBy.CLIENT) from cut
        self._counters.proxy_header("none", "timeout")
        detail = f"incomplete after {len(side.buffered)} bytes in {self._timeout:g} s (proxyHeaderTimeout)"
        raise Refused(RejectReason.PROXY_HEADER_TIMEOUT, detail) from cut
