"""A proxy embedded in a program with a running reactor and real sockets, tested as that program would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from twisted.internet import protocol
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol

from smartproxy import Settings, SmartProxy
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

reactor: Any = installed


class Echo(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Asking(protocol.Protocol):
    """Collects an answer of ``expected`` bytes.

    :ivar answered: fires with the bytes received, once there are enough.
    :ivar closed: fires when the connection is lost.
    """

    def __init__(self, expected: int) -> None:
        self.got = b""
        self.expected = expected
        self.answered: Deferred[bytes] = Deferred()
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        if len(self.got) >= self.expected and not self.answered.called:
            self.answered.callback(self.got)

    def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
        self.closed.callback(None)


@pytest_twisted.async_yield_fixture
async def backend() -> AsyncIterator[int]:
    factory = protocol.Factory.forProtocol(Echo)
    factory.noisy = False
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    yield port.getHost().port
    await port.stopListening()


def proxy_to(backend: int, **keys: Any) -> SmartProxy:
    settings = Settings(
        routes=[
            {
                "name": "echo",
                "match": {"ports": free_ports(1), "address": "127.0.0.1"},
                "action": {"targets": [{"host": "127.0.0.1", "port": backend}]},
            }
        ],
        **keys,
    )
    return SmartProxy(settings)


@pytest.mark.parametrize(("acceleration", "relay"), [("auto", "splice"), ("off", "transport")])
@pytest_twisted.ensureDeferred
async def test_bytes_are_relayed_and_counted_once(backend: int, acceleration: str, relay: str) -> None:
    proxy = proxy_to(backend, acceleration=acceleration)
    proxy.startService()
    (place,) = proxy.addresses().values()
    asking = Asking(5)
    await connectProtocol(TCP4ClientEndpoint(reactor, place.host, place.port), asking)
    asking.transport.write(b"hello")
    assert await asking.answered == b"hello"
    (record,) = proxy.connections
    assert (record.relay, record.bytes_received, record.bytes_sent) == (relay, 5, 5)
    asking.transport.loseConnection()
    await asking.closed
    await proxy.stopService()
    assert proxy.connections == []


@pytest_twisted.ensureDeferred
async def test_stop_ends_connections_after_the_grace_period(backend: int) -> None:
    proxy = proxy_to(backend, graceful_shutdown_timeout="50ms")
    proxy.startService()
    (place,) = proxy.addresses().values()
    asking = Asking(1)
    await connectProtocol(TCP4ClientEndpoint(reactor, place.host, place.port), asking)
    asking.transport.write(b"x")
    await asking.answered
    await proxy.stopService()
    await asking.closed
    assert proxy.connections == []
