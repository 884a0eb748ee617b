"""Worlds in which TLS is terminated on the client's side, the upstream's, or both."""

from __future__ import annotations

from functools import cache
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred

from smartproxy.flow.deadline import Deadlines
from smartproxy.flow.side import Side
from smartproxy.relays.tls import TlsRelay
from smartproxy.tls.channel import Channel
from smartproxy.tls.handshake import handshake
from smartproxy.tls.transport import TlsTransport, channel_of
from tests.relays.worlds import MemoryWorld, SocketWorld
from tests.tls.ends import TlsEnd
from tests.tls.made import Authority
from tests.tls.talk import client


@cache
def server_context(version: int = SSL.TLS1_3_VERSION) -> SSL.Context:
    leaf = Authority().leaf("a.example")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(version)
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    return context


def server(version: int = SSL.TLS1_3_VERSION) -> SSL.Connection:
    made = SSL.Connection(server_context(version), None)
    made.set_accept_state()
    return made


class Encrypting:
    """Adds TLS to the sides of a world that ``tls`` selects: client, upstream.

    The client's transport is resumed already, as it is after a phase has read plaintext.
    """

    near: tuple[Side, Side]
    tls: tuple[bool, bool] = (True, True)
    version = SSL.TLS1_3_VERSION

    def encrypt(self) -> None:
        deadlines = Deadlines(self.time)
        lower = self.near
        plain = (self.client, self.upstream)
        own = (server(self.version), client(None))
        theirs = (client(None), server(self.version))
        self.ends: list[TlsEnd] = []
        uppers = list(lower)
        for index, wanted in enumerate(self.tls):
            if wanted:
                uppers[index] = self._within(
                    lower[index], Channel(own[index]), TlsEnd(plain[index], theirs[index]), deadlines
                )
        self.client, self.upstream = self._far(plain)
        self.near = uppers[0], uppers[1]
        if self.tls[0]:
            uppers[0].transport.resumeProducing()
        self.settle()

    def _far(self, plain: tuple[Any, Any]) -> list[Any]:
        within = iter(self.ends)
        return [next(within) if wanted else end for end, wanted in zip(plain, self.tls, strict=True)]

    def _within(self, lower: Side, channel: Channel, end: TlsEnd, deadlines: Deadlines) -> Side:
        self.ends.append(end)
        lower.transport.resumeProducing()
        handshaken = Deferred.fromCoroutine(handshake(lower, channel, deadlines, 0))
        done: list[object] = []
        handshaken.addBoth(done.append)
        self.settle()
        assert done == [None], done
        lower.transport.pauseProducing()
        upper = Side()
        TlsTransport(channel, lower, upper)
        return upper


class TlsSocketWorld(Encrypting, SocketWorld):
    """Real TCP; the relay between the transports."""

    def __init__(self, case: Any, *, tls: tuple[bool, bool] = (True, True), **more: Any) -> None:
        SocketWorld.__init__(self, case, **more)
        self.ends = []
        self.tls = tls
        self.time = self.pump.reactor
        turn = self.pump.turn
        self.pump.turn = lambda: bool(turn() | sum(end.step() for end in self.ends))
        self.encrypt()


class TlsRelayWorld(TlsSocketWorld):
    """The same sockets, relayed by the relay with TLS."""

    def make(self, client: Side, upstream: Side) -> Any:
        return TlsRelay(self._given(client), self._given(upstream), self.record, self.pump.poller)

    def _given(self, side: Side) -> Any:
        transport = side.detach()
        return transport.detach(), channel_of(transport)


class TlsMemoryWorld(Encrypting, MemoryWorld):
    """Transports in memory, of any nature, below the TLS."""

    def __init__(self, case: Any, nature: Any = None, *, tls: tuple[bool, bool] = (True, True)) -> None:
        MemoryWorld.__init__(self, case, nature)
        self.ends = []
        self.tls = tls
        self.time = self.clock
        self.encrypt()

    def settle(self) -> None:
        while True:
            MemoryWorld.settle(self)
            if not sum(end.step() for end in self.ends):
                return
