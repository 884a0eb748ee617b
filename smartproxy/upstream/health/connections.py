"""The connections of checks: opened as those of clients are, and closed in order.

A check is to find out whether a client would be connected. So a name's addresses are raced as for a client, from the same
local address, the target gets its PROXY header, and TLS is verified as for a client. Only a TLS session is never resumed: the
handshake of a check shows that the target can make one.

A connection ends in order: our direction is ended, what is left is read, and the connection is closed when the target has
closed. One that is reset while the target still speaks fills its log.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from smartproxy.flow.coroutines import unfailed
from smartproxy.model.address import Endpoint, UnixEndpoint
from smartproxy.upstream.attempt import of_family
from smartproxy.upstream.connection import UpstreamFactory
from smartproxy.upstream.race import Race
from smartproxy.wire import proxy_v1, proxy_v2
from smartproxy.wire.host import is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.event import AwaitableEvent
    from smartproxy.flow.side import Side
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.plan.check import CheckPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.connection import Upstream
    from smartproxy.upstream.interfaces import IResolver
    from smartproxy.upstream.originate_tls import Originate

#: Seconds that a target has to close after us.
LINGER = 1.0
#: The timer of the whole check applies.
_NO_LIMIT = 0.0


class CheckConnections:
    """Opens connections to targets, and closes them.

    :param clock: of the reactor: for races between addresses.
    :param originate: begins TLS.
    """

    def __init__(
        self,
        dialer: IDialer,
        resolver: IResolver,
        clock: IReactorTime,
        deadlines: Deadlines,
        originate: Originate,
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._clock = clock
        self._deadlines = deadlines
        self._originate = originate
        self._closing: set[Closing] = set()

    def dial(self, candidate: Candidate, plan: CheckPlan) -> Deferred[Upstream]:
        """Connect. Fires with the connection, paused. Cancelling it cancels the attempts.

        :raises DialFailed: or the Deferred fails with it.
        """
        target, host = candidate.target, candidate.host
        assert not callable(host)  # noqa: S101 - the settings refuse a check without a host
        if isinstance(host, UnixEndpoint):
            return UpstreamFactory(host, keep_alive=()).dial(self._dialer, _NO_LIMIT).deferred()
        dial = partial(self._dial_address, port_of(target, plan), target.source)
        if candidate.is_literal or is_address(host):
            address = unmapped(host)
            if target.source:
                of_family(target.source, (address,), host)
            return dial(address).deferred()

        def race(addresses: Sequence[str]) -> Deferred[Upstream]:
            if target.source:
                addresses = of_family(target.source, addresses, host)
            one = dial(addresses[0]) if len(addresses) == 1 else Race(addresses, dial, self._clock).start()
            return one.deferred()

        return self._resolver.resolve(host).addCallback(race)

    def _dial_address(self, port: int, source: str, address: str) -> AwaitableEvent[Upstream]:
        factory = UpstreamFactory(Endpoint(address, port), keep_alive=(), source=source)
        return factory.dial(self._dialer, _NO_LIMIT, source)

    async def open(self, candidate: Candidate, plan: CheckPlan) -> Side:
        """A connection, paused, behind the PROXY header and the TLS handshake that the target gets.

        :raises DialFailed: where there is none.
        """
        upstream = await unfailed(self.dial(candidate, plan))
        side: Side = upstream
        try:
            announce(side, candidate.target)
            if plan.tls is not None:
                assert not callable(candidate.host)  # noqa: S101 - likewise
                name = plan.tls.name_for(candidate.host, None)
                side = (await self._originate(side, plan.tls, name, _NO_LIMIT, resume=False)).side
        except BaseException:
            side.transport.abortConnection()
            raise
        return side

    def close(self, side: Side) -> None:
        """Close a connection in order. Nothing waits for it."""
        side.consume()
        if not side.is_lost:
            Closing(side, self._deadlines, self._closing)

    def stop(self) -> None:
        """Abort the connections that are being closed."""
        for closing in list(self._closing):
            closing.abort()


def port_of(target: TargetPlan, plan: CheckPlan) -> int:
    """The port that a check connects to."""
    port = plan.port or target.port
    assert isinstance(port, int)  # noqa: S101 - the settings refuse a check without a port
    return port


def announce(side: Side, target: TargetPlan) -> None:
    """Send the PROXY header that says that we connect on our own behalf, where the target gets one."""
    if target.send_header is None:
        return
    local = (
        proxy_v1.build(None, None)
        if target.send_header.version == 1
        else proxy_v2.build(None, None, local=True)
    )
    side.transport.write(local)


class Closing:
    """A connection that is being closed.

    :param others: it is one of these until it is closed.
    """

    __slots__ = ("_due", "_others", "_transport")

    def __init__(self, side: Side, deadlines: Deadlines, others: set[Closing]) -> None:
        self._transport = side.transport
        self._others = others
        others.add(self)
        side.attach(self)
        self._due = deadlines.call_later(LINGER, self._transport.abortConnection)
        self._transport.resumeProducing()
        if side.ended:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def abort(self) -> None:
        """Close it now."""
        self._transport.abortConnection()

    def data_received(self, data: bytes) -> None:
        """What a target still sends is not looked at."""

    def input_ended(self) -> None:
        """The target has closed, too."""
        self._transport.loseConnection()

    def output_ended(self) -> None:
        """Our end was sent."""

    def lost(self, why: Failure) -> None:
        """It is closed."""
        self._others.discard(self)
        self._due.cancel()
