"""The kinds of end: what a batch of clients does with its connections, up to their ends."""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from benchmarks.backends import GREETING
from benchmarks.ends.proxy import BLOCKED, DOMAIN, TRUSTED, Proxy
from benchmarks.ends.targets import HOST, RESET_ON_CLOSE
from benchmarks.messages import SMALL, plain
from benchmarks.processes import BenchmarkError

#: Sixteen addresses, so that the ports in TIME_WAIT do not run short.
_SOURCES = [f"127.0.2.{n}" for n in range(1, 17)]
_STALLS_AFTER = 30.0
_HEAD = b"GET /here HTTP/1.1\r\nHost: a.example\r\n"
#: A record that cannot be decrypted.
_GARBAGE = b"\x17\x03\x03\x00\x05junk!"


class World:
    """What the clients need.

    :ivar ports: of the proxy, by route.
    """

    def __init__(self, proxy: Proxy, ports: dict[str, int]) -> None:
        self.proxy = proxy
        self.ports = ports
        self._sources = itertools.cycle(_SOURCES)
        self._serials = itertools.count()
        self.trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.trusting.check_hostname, self.trusting.verify_mode = False, ssl.CERT_NONE
        self.doubting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts no authority

    def open(self, route: str, count: int, source: str | None = None) -> list[socket.socket]:
        """Connections to a route."""
        return [self._connect(self.ports[route], source or next(self._sources)) for _ in range(count)]

    def greeted(self, route: str, count: int) -> list[socket.socket]:
        """Connections on which the target has sent its greeting."""
        opened = self.open(route, count)
        for each in opened:
            _expect(each.recv(1), GREETING)
        return opened

    def message(self) -> bytes:
        """A message that occurs once; it is its own answer."""
        return plain(next(self._serials))[0]

    @staticmethod
    def _connect(port: int, source: str) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(_STALLS_AFTER)
        sock.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        with suppress(ConnectionResetError):  # established, and ended already, on a busy machine
            sock.connect((HOST, port))
        return sock


def _expect(heard: bytes, wanted: bytes) -> None:
    if heard != wanted:
        raise BenchmarkError(f"received {heard[:40]!r} and not {wanted[:40]!r}")


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.close()


def _reset_all(opened: list[socket.socket]) -> None:
    for each in opened:
        _reset(each)


def _until_closed(opened: Sequence[socket.socket]) -> None:
    """Read each to its end, whatever it is, and close it."""
    for each in opened:
        try:
            while each.recv(4096):
                pass
        except TimeoutError:
            raise BenchmarkError("a connection was not closed") from None
        except OSError:
            pass
        each.close()


def _say(opened: list[socket.socket], what: bytes) -> list[socket.socket]:
    for each in opened:
        with suppress(OSError):  # refused already
            each.sendall(what)
    return opened


# -- ends of a relay ------------------------------------------------------------------------------------------


def _client_fin(world: World, count: int) -> None:
    opened = [(each, world.message()) for each in world.open("answer", count)]
    for each, message in opened:
        each.sendall(message)
    for each, message in opened:
        _expect(each.recv(SMALL), message)
        each.shutdown(socket.SHUT_WR)
    _until_closed([each for each, _ in opened])


def _target_fin(world: World, count: int) -> None:
    _until_closed(world.open("farewell", count))


def _client_reset(world: World, count: int) -> None:
    _reset_all(world.greeted("hold", count))


def _target_reset(world: World, count: int) -> None:
    _until_closed(_say(world.open("reset", count), bytes(SMALL)))


def _inactivity(world: World, count: int) -> None:
    _until_closed(world.greeted("idle", count))


def _half_close_timeout(world: World, count: int) -> None:
    opened = world.open("half", count)
    for each in opened:
        with suppress(OSError):  # it is due already
            while each.recv(4096):
                pass
    hung_up = select.poll()
    for each in opened:
        hung_up.register(each, 0)  # what is always reported: a RST
    deadline = time.monotonic() + _STALLS_AFTER
    while len(hung_up.poll(50)) < count:
        if time.monotonic() > deadline:
            raise BenchmarkError("the half-close timeout did not close all")
    _until_closed(opened)


def _deleted(world: World, count: int) -> None:
    opened = world.greeted("hold", count)
    world.proxy.end_all(each["id"] for each in world.proxy.ask("connections?route=hold")["connections"])
    _until_closed(opened)


# -- before a target is connected -----------------------------------------------------------------------------


def _reset_while_dialing(world: World, count: int) -> None:
    opened = world.open("patient", count)
    time.sleep(0.05)
    _reset_all(opened)


def _refusal(route: str, source: str | None = None, said: bytes = b"") -> Callable[[World, int], None]:
    """Connections that the proxy closes."""

    def act(world: World, count: int) -> None:
        _until_closed(_say(world.open(route, count, source), said))

    return act


def _over_the_limit(world: World, count: int) -> None:
    held = _only_one(world)
    _until_closed(world.open("full", count))
    _reset(held)


def _only_one(world: World) -> socket.socket:
    """The one connection that the route may have. That of the batch before may still be open."""
    deadline = time.monotonic() + _STALLS_AFTER
    while time.monotonic() < deadline:
        (held,) = world.open("full", 1)
        with suppress(ConnectionError):
            if held.recv(1) == GREETING:
                return held
        held.close()
    raise BenchmarkError("the limit of the route is not released")


def _half_head_then_close(world: World, count: int) -> None:
    opened = _say(world.open("http", count), _HEAD)
    time.sleep(0.02)
    for each in opened:
        each.close()


def _half_head_then_reset(world: World, count: int) -> None:
    opened = _say(world.open("http", count), _HEAD)
    time.sleep(0.02)
    _reset_all(opened)


# -- TLS ------------------------------------------------------------------------------------------------------


class _Secured:
    """A client's TLS over a socket, in steps, so that the clients of a batch do each of them together."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str = DOMAIN) -> None:
        self.sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)

    def greet(self) -> None:
        """Send the ClientHello."""
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self._flush()

    def finish(self, behind: bytes = b"") -> None:
        """Read the server's flight, and send the last one with ``behind`` in the same piece."""
        while True:
            self._receive()
            with suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                break
        self.sock.sendall(self._outgoing.read() + behind)

    def say(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def hear(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                data += self._tls.read(size - len(data))
            except ssl.SSLWantReadError:
                self._receive()
        return data

    def end(self) -> None:
        """Send close_notify."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def flush_alert(self) -> None:
        """Send what a failed handshake has left."""
        self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.sock.sendall(data)

    def _receive(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            raise BenchmarkError("TLS was cut")
        self._incoming.write(data)


def _greeted(world: World, route: str, count: int, context: ssl.SSLContext | None = None) -> list[_Secured]:
    """Clients that have sent their ClientHello."""
    clients = [_Secured(each, context or world.trusting) for each in world.open(route, count)]
    for each in clients:
        each.greet()
    return clients


def _answered(world: World, route: str, count: int) -> list[_Secured]:
    """Clients after their handshakes, and a message there and back."""
    clients = _greeted(world, route, count)
    said = [SMALL.to_bytes(8, "big") if route == "reencrypt" else world.message() for _ in clients]
    for each, message in zip(clients, said, strict=True):
        each.finish()
        each.say(message)
    for each, message in zip(clients, said, strict=True):
        heard = each.hear(SMALL)
        if route != "reencrypt":
            _expect(heard, message)
    return clients


def _tls(route: str) -> Callable[[World, int], None]:
    """A close_notify each way."""

    def act(world: World, count: int) -> None:
        clients = _answered(world, route, count)
        for each in clients:
            each.end()
        _until_closed([each.sock for each in clients])

    return act


def _tls_cut(close: Callable[[socket.socket], None]) -> Callable[[World, int], None]:
    def act(world: World, count: int) -> None:
        for each in _answered(world, "tls", count):
            close(each.sock)

    return act


def _certificate_rejected(world: World, count: int) -> None:
    """The client sends an alert in place of its last flight."""
    clients = _greeted(world, "tls", count, world.doubting)
    for each in clients:
        try:
            each.finish()
        except ssl.SSLError:
            each.flush_alert()
        else:
            raise BenchmarkError("a certificate of no authority was accepted")
    _until_closed([each.sock for each in clients])


def _unknown_name(world: World, count: int) -> None:
    """The routes of the port are for another name."""
    clients = [_Secured(each, world.trusting, "other.example") for each in world.open("named", count)]
    for each in clients:
        each.greet()
    _until_closed([each.sock for each in clients])


def _stalled(world: World, count: int) -> None:
    """A ClientHello, and then nothing."""
    _until_closed([each.sock for each in _greeted(world, "hasty", count)])


def _late_garbage(world: World, count: int) -> None:
    """A broken record behind the last message of the handshake."""
    clients = _greeted(world, "inside", count)
    for each in clients:
        each.finish(_GARBAGE)
    _until_closed([each.sock for each in clients])


# -- handlers -------------------------------------------------------------------------------------------------


def _handler_reset(world: World, count: int) -> None:
    opened = _say(world.open("handler wait", count), b"x")
    time.sleep(0.02)
    _reset_all(opened)


class EndKind(NamedTuple):
    """One kind of end.

    :ivar at_once: connections of a batch. The proxy's deadlines end many at a time; TLS handshakes that wait for one stay
        below ``tls.maxHandshakes``.
    """

    name: str
    act: Callable[[World, int], None]
    at_once: int = 100


KINDS = (
    EndKind("client's FIN", _client_fin),
    EndKind("target's FIN", _target_fin),
    EndKind("client's RST", _client_reset),
    EndKind("target's RST", _target_reset),
    EndKind("inactivity timeout", _inactivity, 1000),
    EndKind("half-close timeout", _half_close_timeout, 1000),
    EndKind("ended by the admin API", _deleted),
    EndKind("client's RST while dialing", _reset_while_dialing, 500),
    EndKind("target does not answer", _refusal("silent"), 1000),
    EndKind("target refuses", _refusal("refusing")),
    EndKind("refused by a list", _refusal("blocked", BLOCKED)),
    EndKind("refused by the limit of the route", _over_the_limit),
    EndKind("no route, 404", _refusal("http", said=b"GET /there HTTP/1.1\r\nHost: a.example\r\n\r\n")),
    EndKind("half a head, until its timeout", _refusal("http", said=_HEAD), 1000),
    EndKind("half a head, then FIN", _half_head_then_close),
    EndKind("half a head, then RST", _half_head_then_reset),
    EndKind("malformed PROXY header", _refusal("hold", TRUSTED, b"PROXY nonsense\r\n")),
    EndKind("half a PROXY header, until its timeout", _refusal("hold", TRUSTED, b"PROXY TCP4"), 1000),
    EndKind("TLS, close_notify", _tls("tls")),
    EndKind("TLS to the target, too", _tls("reencrypt")),
    EndKind("TLS, FIN without close_notify", _tls_cut(socket.socket.close)),
    EndKind("TLS, RST", _tls_cut(_reset)),
    EndKind("TLS, certificate rejected", _certificate_rejected),
    EndKind("TLS, no certificate for the name", _unknown_name),
    EndKind("TLS, stalled handshake", _stalled, 190),
    EndKind("TLS, garbage in the last flight", _late_garbage),
    EndKind("handler returns", _refusal("handler answer", said=b"x")),
    EndKind("handler raises", _refusal("handler fail", said=b"x")),
    EndKind("client's RST, handler reads", _handler_reset),
)
