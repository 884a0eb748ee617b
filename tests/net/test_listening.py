"""Ports that are opened together: all or none, and never shared with another process."""

from __future__ import annotations

import errno
import os
import socket

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan import KeepAlive
from smartproxy.net.listening import BACKLOG, ListeningPort, listen_together, reason
from smartproxy.net.port import PollerPort
from tests.ports import free_ports
from tests.pumps import Pump


class ListeningCase(SynchronousTestCase):
    """Ports on one free number, and what they have accepted."""

    def setUp(self):
        self.pump = Pump(self)
        self.accepted = []
        case = self

        class Noted(Protocol):
            def connectionMade(self):
                case.accepted.append(self)

        self.factory = Factory.forProtocol(Noted)
        (self.number,) = free_ports(1)

    def port(self, interface, number=None):
        number = self.number if number is None else number
        port = PollerPort(
            number, self.factory, interface, self.pump.reactor, self.pump.poller, keep_alive=KeepAlive()
        )
        self.addCleanup(self.stop, port)
        return port

    def stop(self, port):
        if port.connected and not port.disconnecting:
            port.stopListening()
        self.pump.reactor.advance(0)

    def connect(self, host="127.0.0.1"):
        return self.pump.keep(socket.create_connection((host, self.number)))


class ListenTests(ListeningCase):
    def shares(self, port):
        return port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)

    def test_ports_that_overlap_listen_together_and_share_with_nobody(self):
        everywhere, one = self.port("::"), self.port("127.0.0.1")
        listen_together([everywhere, one])
        self.assertEqual([self.shares(port) for port in (everywhere, one)], [0, 0])
        self.connect()
        one.doRead()
        everywhere.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_a_port_beside_one_that_listens(self):
        for first, second in (
            ("127.0.0.1", "::"),
            ("::", "::1"),
            ("0.0.0.0", "::"),
            ("127.0.0.2", "0.0.0.0"),
        ):
            with self.subTest(f"{second} beside {first}"):
                held, fresh = self.port(first), self.port(second)
                listen_together([held])
                listen_together([fresh], [held])
                self.assertEqual([self.shares(port) for port in (held, fresh)], [0, 0])
                for port in (held, fresh):
                    self.stop(port)

    def test_a_port_by_itself_never_has_the_option(self):
        """Also while it is bound: otherwise another process with the option could bind the same address."""
        port = self.port("127.0.0.1")
        given = []
        bind = port.bind
        port.bind = lambda *, reuse_port: (given.append(reuse_port), bind(reuse_port=reuse_port))
        listen_together([port], [self.port("127.0.0.2", 0)])
        self.assertEqual((given, self.shares(port)), ([False], 0))

    def test_where_one_cannot_be_bound_no_client_has_been_connected(self):
        """Closing a socket on which the kernel has completed a connection would reset it."""
        held = self.port("::")
        listen_together([held])
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        fresh = [self.port("127.0.0.1"), self.port("127.0.0.1", taken.getsockname()[1])]
        binding = fresh[1].bind
        fresh[1].bind = lambda *, reuse_port: (self.connect(), binding(reuse_port=reuse_port))
        failed = self.assertRaises(CannotListenError, listen_together, fresh, [held])
        self.assertEqual(failed.port, taken.getsockname()[1])
        self.assertEqual(self.shares(held), 0)
        held.doRead()
        self.assertEqual(len(self.accepted), 1)

    def test_where_one_cannot_listen_none_does(self):
        """Two sockets may be bound to one address while neither listens; then the first to listen has it."""
        fresh = [self.port("127.0.0.1"), self.port("::1")]
        failing = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        fresh[1].listen = lambda: (_ for _ in ()).throw(CannotListenError("::1", self.number, failing))
        self.assertRaises(CannotListenError, listen_together, fresh)
        self.assertRaises(ConnectionRefusedError, self.connect)
        self.assertEqual(self.pump.reactor.readers & {*fresh}, set())

    def test_a_retired_port_accepts_what_the_kernel_has_completed(self):
        """More than one event accepts."""
        port = self.port("127.0.0.1")
        listen_together([port])
        for _ in range(100):
            self.connect()
        port.retire()
        late = self.connect()  # before the socket is closed
        self.pump.reactor.advance(0)
        self.assertEqual(len(self.accepted), 101)
        self.assertRaises(ConnectionRefusedError, self.connect)
        self.accepted[-1].transport.write(b"hello")
        self.pump.settle()
        self.assertEqual(late.received, b"hello")

    def test_a_retired_port_leaves_the_reserve_of_descriptors(self):
        port = self.port("127.0.0.1")
        listen_together([port])
        for _ in range(3):
            self.connect()
        port._highest = 0
        port.retire()
        self.pump.reactor.advance(0)
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(self.pump.reactor.getDelayedCalls(), [])

    def test_the_reason_names_address_port_and_error(self):
        port = ListeningPort(self.number, self.factory, BACKLOG, "192.0.2.1", self.pump.reactor)
        failed = self.assertRaises(CannotListenError, port.startListening)
        self.assertEqual(
            reason(failed),
            f"cannot listen on 192.0.2.1:{self.number}: [Errno 99] Cannot assign requested address",
        )
        failed = CannotListenError("", 80, OSError(errno.EACCES, "Permission denied"))
        self.assertEqual(reason(failed), "cannot listen on *:80: [Errno 13] Permission denied")


class CopiedTests(ListeningCase):
    def test_a_copy_of_a_closed_port_listens_on(self):
        """A service manager keeps one while the proxy starts again."""
        port = self.port("127.0.0.1")
        listen_together([port])
        copied = socket.socket(fileno=os.dup(port.fileno()))
        self.addCleanup(copied.close)
        self.stop(port)
        self.assertFalse(port.connected)
        self.connect()
        copied.settimeout(5)
        accepted, _ = copied.accept()
        accepted.close()


class AdoptedTests(ListeningCase):
    """A port on a socket that listens already, and of which other processes have copies."""

    def setUp(self):
        super().setUp()
        self.held = socket.create_server(("127.0.0.1", self.number), backlog=8)
        self.addCleanup(self.held.close)

    def adopted(self):
        port = self.port("127.0.0.1")
        opened = socket.socket(fileno=os.dup(self.held.fileno()))
        opened.setblocking(False)
        port.adopt(opened)
        port.startListening()
        return port

    def test_it_accepts_what_waited_before_it_was_adopted(self):
        self.connect()
        port = self.adopted()
        port.doRead()
        self.assertEqual(len(self.accepted), 1)
        self.assertEqual(port.getHost().port, self.number)

    def test_accepted_sockets_have_the_options_of_our_own(self):
        self.adopted()
        for option in (socket.SO_KEEPALIVE, socket.SO_REUSEADDR):
            self.assertTrue(self.held.getsockopt(socket.SOL_SOCKET, option))
        self.assertTrue(self.held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_a_closed_port_leaves_the_socket_of_others_listening(self):
        port = self.adopted()
        self.stop(port)
        self.assertFalse(port.connected)
        self.connect()
        accepted, peer = self.held.accept()
        accepted.close()
        self.assertEqual(peer[0], "127.0.0.1")
