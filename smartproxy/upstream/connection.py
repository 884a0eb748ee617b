"""The upstream side: Twisted's pair of factory and protocol for one connection to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory

from smartproxy.flow.side import Side
from smartproxy.net.dial import failure_of
from smartproxy.net.keep_alive import Option, apply_keepalive

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from smartproxy.model.address import Endpoint
    from smartproxy.net.interfaces import IConnecting, IDialer


class Upstream(Side):
    """A connection to a target. What comes before it is linked is held.

    :ivar address: what it is connected to.
    """

    def __init__(self, factory: UpstreamFactory) -> None:
        self._factory = factory
        self.address = factory.to

    def connectionMade(self) -> None:
        """It stands."""
        self.transport.pauseProducing()
        self.transport.setTcpNoDelay(True)
        apply_keepalive(self.transport, self._factory.keep_alive)
        self._factory.stands(self)


class UpstreamFactory(ClientFactory):
    """One attempt.

    :param keep_alive: whether the kernel shall probe a silent target, and how, as options of its socket.
    """

    noisy = False

    def __init__(self, to: Endpoint, *, keep_alive: tuple[Option, ...]) -> None:
        self.to = to
        self.keep_alive = keep_alive
        self._waiting: Deferred[Upstream] | None = None
        self._connecting: IConnecting | None = None

    def dial(self, dialer: IDialer, timeout: float) -> Deferred[Upstream]:
        """Begin.

        :return: fires with the connection, paused; or fails with a :class:`~smartproxy.errors.DialFailed`.
            Cancelling it gives the attempt up.
        """
        linked = self._waiting = Deferred(self._cancelled)
        connecting = dialer.dial(self.to, self, timeout)
        if self._waiting is not None:  # it has not come to an end already
            self._connecting = connecting
        return linked

    def buildProtocol(self, addr: Any) -> Upstream:
        """The connection stands."""
        return Upstream(self)

    def stands(self, upstream: Upstream) -> None:
        """``upstream`` has been connected."""
        waiting = self._over()
        if waiting is None:
            upstream.transport.abortConnection()
        else:
            waiting.callback(upstream)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The connection does not stand."""
        waiting = self._over()
        if waiting is not None:
            waiting.errback(failure_of(reason, self.to))

    def _cancelled(self, _: Deferred[Upstream]) -> None:
        connecting = self._connecting
        self._over()
        if connecting is not None:
            connecting.stopConnecting()

    def _over(self) -> Deferred[Upstream] | None:
        """Who waits for it, if somebody still does; nobody from now on."""
        waiting, self._waiting = self._waiting, None
        self._connecting = None
        return waiting
