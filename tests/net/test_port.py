"""Accepting connections for the poller: options, failures, and a shortage of descriptors."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import KeepAlive, Probes
from smartproxy.net import port as port_module
from smartproxy.net.descriptors import highest_descriptor
from smartproxy.net.port import PollerPort, listening_at
from smartproxy.net.stream import Stream
from tests.pumps import Pump

DEFAULT = KeepAlive()
#: Holds connections until descriptors run out, in a separate process with a limit of 128.
_SHORT = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from twisted.internet.protocol import Factory, Protocol
from smartproxy.net.port import PollerPort
from smartproxy.net.poller import Poller
from smartproxy.model.plan import KeepAlive
from tests.pumps import HandReactor

reactor = HandReactor()
poller = Poller(reactor, reactor.seconds)
held = []
class Holds(Protocol):
    def connectionMade(self):
        held.append(self.transport)
port = PollerPort(0, Factory.forProtocol(Holds), "127.0.0.1", reactor, poller, keep_alive=KeepAlive())
port.startListening()
where = port.getHost()
turns = 0
clients = []
def connect(count):
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((where.host, where.port))
        clients.append(client)
def turn(count):
    global turns
    for _ in range(count):
        if port in reactor.readers:
            turns += 1
            port.doRead()
connect(45)
turn(1)
connect(20)
turn(1000)
spun, accepted = turns, len(held)
with open("/dev/null") as spare:  # the rest of the process has descriptors still
    pass
for client in clients[:40]:
    client.close()
for transport in held[:40]:
    transport.abortConnection()
reactor.advance(0.2)
resumed = port in reactor.readers
turn(1000)
print(spun, accepted, resumed, len(held))
"""


class PortTests(SynchronousTestCase):
    def setUp(self):
        self.pump = Pump(self)
        self.reactor = self.pump.reactor
        self.accepted = []
        case = self

        class Noted(Protocol):
            def connectionMade(self):
                case.accepted.append(self)

        self.factory = Factory.forProtocol(Noted)
        self.addresses = []
        build = self.factory.buildProtocol
        self.factory.buildProtocol = lambda address: (self.addresses.append(address), build(address))[1]

    def port(self, interface="127.0.0.1", *, keep_alive=DEFAULT, number=0):
        port = PollerPort(
            number,
            self.factory,
            interface,
            self.reactor,
            self.pump.poller,
            keep_alive=keep_alive,
        )
        port.startListening()
        self.addCleanup(self.stop, port)
        return port

    def stop(self, port):
        if port.connected and not port.disconnecting:
            port.stopListening()
        self.reactor.advance(0)

    def connect(self, port, host="127.0.0.1"):
        return self.pump.keep(socket.create_connection((host, port.getHost().port)))

    def test_an_accepted_connection_is_a_stream(self):
        port = self.port()
        far = self.connect(port)
        port.doRead()
        self.assertIsInstance(self.accepted[0].transport, Stream)
        self.assertEqual(tuple(self.addresses[0]), far.sock.getsockname())
        self.accepted[0].transport.write(b"hello")
        self.pump.settle()
        self.assertEqual(far.received, b"hello")

    def test_the_ipv6_wildcard_accepts_ipv4_too(self):
        port = self.port("::")
        self.connect(port)
        self.connect(port, "::1")
        port.doRead()
        self.assertEqual({address.host for address in self.addresses}, {"127.0.0.1", "::1"})

    def test_accepted_sockets_inherit_options_of_the_listener(self):
        for keep_alive in (True, False):
            port = self.port(keep_alive=KeepAlive(enabled=keep_alive))
            self.connect(port)
            port.doRead()
            transport = self.accepted[-1].transport
            self.assertEqual((transport.getTcpNoDelay(), transport.getTcpKeepAlive()), (True, keep_alive))

    def probes_of(self, transport):
        names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
        return tuple(transport.getHandle().getsockopt(socket.IPPROTO_TCP, name) for name in names)

    def test_accepted_sockets_inherit_the_probes(self):
        port = self.port(keep_alive=KeepAlive(probes=Probes(61, 7, 4)))
        self.connect(port)
        port.doRead()
        self.assertEqual(self.probes_of(self.accepted[-1].transport), (61, 7, 4))

    def test_changed_keep_alive_is_for_new_connections(self):
        """As after a reload with another keep-alive."""
        port = self.port()
        for keep_alive, wanted in (
            (KeepAlive(probes=Probes(61, 7, 4)), (True, 61, 7, 4)),
            (KeepAlive(enabled=False), (False, 60, 15, 9)),
            (KeepAlive(), (True, 60, 15, 9)),
        ):
            port.set_keep_alive(keep_alive)
            self.connect(port)
            port.doRead()
            transport = self.accepted[-1].transport
            self.assertEqual((transport.getTcpKeepAlive(), *self.probes_of(transport)), wanted)

    def test_the_listening_address_is_known(self):
        port = self.port()
        self.assertEqual(listening_at(port), port.socket.getsockname())

    def test_a_connection_without_protocol_is_closed(self):
        self.factory.buildProtocol = lambda address: None
        port = self.port()
        far = self.connect(port)
        port.doRead()
        self.pump.settle()
        self.assertTrue(far.ended)
        self.assertEqual(len(self.pump.poller), 0)

    def test_one_event_accepts_a_limited_number(self):
        self.patch(port_module, "_ACCEPTS_A_TURN", 2)
        port = self.port()
        for _ in range(3):
            self.connect(port)
        port.doRead()
        self.assertEqual(len(self.accepted), 2)
        port.doRead()
        self.assertEqual(len(self.accepted), 3)

    def test_a_listener_stopped_by_a_connection_accepts_no_more(self):
        port = self.port()
        for _ in range(3):
            self.connect(port)
        build = self.factory.buildProtocol
        self.factory.buildProtocol = lambda address: (port.stopListening(), build(address))[1]
        port.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_after_a_failed_accept_the_next_one_is_accepted(self):
        """Errors of the network (accept(2)) belong to one connection and must not stop the listener."""
        for code in (errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EPERM):
            with self.subTest(errno.errorcode[code]):
                port = self.port()
                self.connect(port)
                port.socket = _FailsOnce(port.socket, code)
                port.doRead()
                self.reactor.advance(1)
                port.doRead()
                self.assertIn(port, self.reactor.readers)
                self.assertEqual(len(self.accepted), 1)
                self.accepted.clear()

    def test_an_unknown_error_only_pauses_accepting(self):
        port = self.port()
        self.connect(port)
        port.socket = _FailsOnce(port.socket, errno.EXDEV)
        port.doRead()
        self.assertNotIn(port, self.reactor.readers)
        self.reactor.advance(1)
        self.assertIn(port, self.reactor.readers)
        port.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_after_a_failed_protocol_the_next_one_is_accepted(self):
        build = self.factory.buildProtocol
        answers = iter([ZeroDivisionError(), None])

        def first_fails(address):
            problem = next(answers)
            if problem is not None:
                raise problem
            return build(address)

        self.factory.buildProtocol = first_fails
        port = self.port()
        first, _ = self.connect(port), self.connect(port)
        port.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pump.settle()
        self.assertTrue(first.ended)

    def test_without_descriptors_accepting_pauses(self):
        port = self.port()
        self.connect(port)
        port.socket = _FailsOnce(port.socket, errno.EMFILE)
        port.doRead()
        self.assertNotIn(port, self.reactor.readers)
        self.reactor.advance(0.2)
        self.assertIn(port, self.reactor.readers)
        port.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_accepting_pauses_before_the_reserve_is_used(self):
        port = self.port()
        port._highest = 0
        for _ in range(2):
            self.connect(port)
        port.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.reactor.advance(60)
        self.assertNotIn(port, self.reactor.readers)
        port._highest = highest_descriptor()
        self.reactor.advance(0.2)
        self.assertIn(port, self.reactor.readers)

    def test_stopping_during_a_pause_leaves_no_call(self):
        port = self.port()
        port._highest = 0
        self.connect(port)
        port.doRead()
        self.stop(port)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_the_limit_of_the_process_leaves_a_reserve(self):
        for limit, highest in ((128, 112), (1024, 960), (1 << 20, (1 << 20) - 256)):
            self.patch(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
            self.assertEqual(highest_descriptor(), highest)

    def test_a_process_at_its_limit_does_not_spin_and_recovers(self):
        """Without descriptors, accepting must pause (a readable listener would spin), and resume when some are free."""
        done = subprocess.run(
            [sys.executable, "-c", _SHORT],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        spun, accepted, resumed, afterwards = done.stdout.split()
        self.assertLess(int(spun), 10)
        self.assertLess(int(accepted), 65)
        self.assertEqual(resumed, "True")
        self.assertGreater(int(afterwards), int(accepted))


class _FailsOnce:
    """A listening socket whose next accept fails."""

    def __init__(self, sock, code):
        self.sock = sock
        self.code = code

    def _accept(self):
        code, self.code = self.code, 0
        if code:
            raise OSError(code, os.strerror(code))
        return self.sock._accept()

    def __getattr__(self, name):
        return getattr(self.sock, name)
