"""Twisted's pair of factory and protocol for one connection to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import ClientFactory

from smartproxy.errors import DialAbandoned
from smartproxy.flow.event import AwaitableEvent
from smartproxy.flow.side import Side
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.outcome import RejectReason
from smartproxy.net.dial import failure_of, local_address
from smartproxy.net.keep_alive import Option, apply_keepalive

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from smartproxy.model.address import Endpoint, TargetAddress
    from smartproxy.net.interfaces import IConnecting, IDialer


class Upstream(Side):
    """A connection to a target. Bytes received before a receiver is attached are buffered.

    :ivar address: the target's address.
    """

    def __init__(self, factory: UpstreamFactory) -> None:
        self._factory: UpstreamFactory | None = factory
        self.address = factory.to

    def connectionMade(self) -> None:
        """The connection is established: pause it until the relay starts."""
        self.transport.pauseProducing()
        factory = self._factory
        assert factory is not None  # noqa: S101 - it has made this
        if not isinstance(self.address, UnixEndpoint):
            self.transport.setTcpNoDelay(True)
            factory.apply(self.transport, factory.keep_alive)
        factory.connected(self)

    def leave_factory(self) -> Callable[[], None] | None:
        """Forget the factory, whose work is done. Returns what is to be called when the connection has ended, if anything is kept for it."""
        factory, self._factory = self._factory, None
        return None if factory is None else factory.on_end


class UpstreamFactory(ClientFactory):
    """One attempt to connect.

    :param keep_alive: TCP keep-alive, as options of its socket; a unix socket has none.
    :ivar on_end: called when the attempt has failed, or its connection has ended; ``None`` if nothing is kept for it.
    :param source: local address to connect from; empty leaves it to the system.
    :param apply: applies ``keep_alive`` to a transport.
    """

    noisy = False
    on_end: Callable[[], None] | None = None

    def __init__(
        self,
        to: TargetAddress,
        *,
        keep_alive: tuple[Option, ...],
        source: str = "",
        apply: Callable[[Any, tuple[Option, ...]], None] = apply_keepalive,
    ) -> None:
        self.to = to
        self.source = source
        self.keep_alive = keep_alive
        self.apply = apply
        self._waiting: AwaitableEvent[Upstream] | None = None
        self._connecting: IConnecting | None = None

    def dial(self, dialer: IDialer, timeout: float, source: str = "") -> AwaitableEvent[Upstream]:
        """Begin to connect.

        :param source: local address to connect from; empty leaves it to the system.
        :return: happens with the connection, paused; fails with a :class:`~smartproxy.errors.DialFailed`. Cancelling
            it cancels the attempt.
        """
        connected = self._waiting = AwaitableEvent(self._cancelled)
        connecting = dialer.dial(self.to, self, timeout, self.source)
        if self._waiting is not None:  # it has not succeeded or failed already
            self._connecting = connecting
        return connected

    @property
    def is_pending(self) -> bool:
        """Whether the attempt has neither succeeded nor failed."""
        return self._waiting is not None

    def local_address(self) -> Endpoint | None:
        """The local address of the attempt in progress; ``None`` if there is none, or it is not known yet."""
        return None if self._connecting is None else local_address(self._connecting)

    def give_up(self, after: float) -> None:
        """End the attempt as one that was not answered: another target is tried."""
        waiting, connecting = self._waiting, self._connecting
        self._finish()
        if connecting is not None:
            connecting.stopConnecting()
        if waiting is not None:
            why = f"{self.to}: no answer in {after:g} s, another target is tried"
            waiting.fail(DialAbandoned(RejectReason.UPSTREAM_TIMEOUT, why))

    def buildProtocol(self, addr: Any) -> Upstream:
        """The connection is being established: make its protocol."""
        return Upstream(self)

    def connected(self, upstream: Upstream) -> None:
        """``upstream`` is connected."""
        waiting = self._finish()
        if waiting is None:
            upstream.transport.abortConnection()
            self._end()
        else:
            waiting.happen(upstream)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The attempt has failed."""
        waiting = self._finish()
        self._end()
        if waiting is not None:
            waiting.fail(failure_of(reason, self.to, self.source))

    def _cancelled(self) -> None:
        connecting = self._connecting
        self._finish()
        if connecting is not None:
            connecting.stopConnecting()

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()

    def _finish(self) -> AwaitableEvent[Upstream] | None:
        """What still waits for the attempt, if any; it is cleared."""
        waiting, self._waiting = self._waiting, None
        self._connecting = None
        return waiting
