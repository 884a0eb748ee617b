"""One check of one target: connect, with TLS, and a conversation.

A check has a connection of its own, which ends in order: we end our direction, read what is left, and close when the
target has closed. A connection that is reset while the target still speaks fills its log, and MySQL blocks a host that
does it often (``max_connect_errors``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError

from smartproxy.errors import CheckFailed, DialFailed, PeerClosed
from smartproxy.model.address import Endpoint, UnixEndpoint
from smartproxy.model.plan.check import CheckKind
from smartproxy.upstream.connection import UpstreamFactory
from smartproxy.wire import proxy_v1, proxy_v2
from smartproxy.wire.host import is_address, unmapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.python.failure import Failure

    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.model.address import TargetAddress
    from smartproxy.model.plan import TargetPlan
    from smartproxy.model.plan.check import CheckPlan, StepPlan
    from smartproxy.net.interfaces import IDialer
    from smartproxy.upstream.candidate import Candidate
    from smartproxy.upstream.interfaces import IResolver
    from smartproxy.upstream.originate_tls import Originate

#: Seconds that a target has to close after us.
LINGER = 1.0
#: The most that is read while a check waits for what it expects. An answer is a line or a page.
_LONGEST_ANSWER = 64 * 1024
#: Bytes of an unexpected answer that are shown.
_SHOWN = 60


class Checks:
    """Asks targets.

    :param originate: begins TLS.
    """

    def __init__(
        self, dialer: IDialer, resolver: IResolver, deadlines: Deadlines, originate: Originate
    ) -> None:
        self._dialer = dialer
        self._resolver = resolver
        self._deadlines = deadlines
        self._originate = originate
        self._kinds: dict[CheckKind, Callable[[Side, CheckPlan], Awaitable[str]]] = {
            CheckKind.CONNECT: _connect,
            CheckKind.TLS: _connect,
            CheckKind.SCRIPT: _script,
        }

    async def __call__(self, candidate: Candidate, plan: CheckPlan) -> str:
        """Ask once. Returns what was found, in one line. The caller cancels it when its time is over.

        :raises CheckFailed: with what was found instead.
        """
        try:
            side = await self._open(candidate, plan)
            try:
                return await self._kinds[plan.kind](side, plan)
            finally:
                Closing(side, self._deadlines)
        except (DialFailed, CheckFailed) as why:
            raise CheckFailed(ascii(why.detail)[1:-1]) from None
        except PeerClosed:
            raise CheckFailed("it closed the connection") from None

    async def _open(self, candidate: Candidate, plan: CheckPlan) -> Side:
        target, host = candidate.target, candidate.host
        assert not callable(host)  # noqa: S101 - the settings refuse a check without a host
        factory = UpstreamFactory(await self._address(host, plan.port or target.port), keep_alive=())
        side: Side = await factory.dial(self._dialer, plan.timeout)
        try:
            side.transport.write(_header(target))
            if plan.tls is not None:
                name = plan.tls.name_for(host, None)
                side = (await self._originate(side, plan.tls, name, plan.timeout)).side
        except BaseException:
            side.transport.abortConnection()
            raise
        return side

    async def _address(self, host: str | UnixEndpoint, port: object) -> TargetAddress:
        """The address to connect to: of a name, its first one."""
        if isinstance(host, UnixEndpoint):
            return host
        assert isinstance(port, int)  # noqa: S101 - the settings refuse a check without a port
        address = unmapped(host) if is_address(host) else (await self._resolver.resolve(host))[0]
        return Endpoint(address, port)


async def _connect(_side: Side, plan: CheckPlan) -> str:
    return "connected" if plan.tls is None else "connected with TLS"


async def _script(side: Side, plan: CheckPlan) -> str:
    found = "the script has passed"
    side.transport.resumeProducing()
    for number, step in enumerate(plan.steps, 1):
        if step.send:
            side.transport.write(step.send)
        else:
            found = await _expect(side, step, number)
    return found


async def _expect(side: Side, step: StepPlan, number: int) -> str:
    """Wait for what ``step`` expects. What was received up to it is consumed."""
    while True:
        received = bytes(side.buffered)
        end = _end_of_match(step, received)
        if end:
            return f"step {number}: {_shown(side.consume(end))}"
        if len(received) >= _LONGEST_ANSWER:
            raise CheckFailed(f"step {number}: not in the first {_LONGEST_ANSWER} bytes")
        try:
            await side.wait_for(len(received) + 1)
        except (PeerClosed, CancelledError) as why:
            ended = "it closed the connection" if isinstance(why, PeerClosed) else "no more in time"
            raise CheckFailed(f"step {number}: got {_shown(received)}, and {ended}") from None


def _end_of_match(step: StepPlan, received: bytes) -> int:
    """Where the expected bytes end in ``received``; 0 if they are not there."""
    if step.pattern is not None:
        match = step.pattern.search(received)
        return 0 if match is None else max(match.end(), 1)
    at = received.find(step.expect)
    return 0 if at < 0 else at + len(step.expect)


def _shown(received: bytes) -> str:
    more = "..." if len(received) > _SHOWN else ""
    return ascii(received[:_SHOWN])[1:] + more if received else "nothing"


def _header(target: TargetPlan) -> bytes:
    """The PROXY header that says that we connect on our own behalf; empty where the target gets none."""
    if target.send_header is None:
        return b""
    if target.send_header.version == 1:
        return proxy_v1.build(None, None)
    return proxy_v2.build(None, None, local=True)


class Closing:
    """Closes the connection of a check in order, without anyone waiting for it."""

    def __init__(self, side: Side, deadlines: Deadlines) -> None:
        side.consume()
        if side.is_lost:
            return
        self._transport = side.transport
        side.attach(self)
        self._due = deadlines.call_later(LINGER, self._transport.abortConnection)
        self._transport.resumeProducing()
        if side.ended:
            self._transport.loseConnection()
        else:
            self._transport.loseWriteConnection()

    def data_received(self, data: bytes) -> None:
        """What a target still sends is not looked at."""

    def input_ended(self) -> None:
        """The target has closed, too."""
        self._transport.loseConnection()

    def output_ended(self) -> None:
        """Our end was sent."""

    def lost(self, why: Failure) -> None:
        """It is closed."""
        self._due.cancel()
