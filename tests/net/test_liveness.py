"""Whether the connection of a socket or transport still exists."""

from __future__ import annotations

import os
import socket
import struct

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.liveness import socket_gone, transport_gone
from smartproxy.testing import connection


class LivenessTests(SynchronousTestCase):
    def setUp(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.far = socket.create_connection(listening.getsockname())
            self.near, _ = listening.accept()
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)

    def reset(self):
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()

    def test_a_connected_socket_is_not_gone(self):
        self.assertFalse(socket_gone(self.near))

    def test_after_the_peers_fin_a_socket_is_not_gone(self):
        self.far.sendall(b"unread")
        self.far.shutdown(socket.SHUT_WR)
        self.assertFalse(socket_gone(self.near))

    def test_after_both_fins_it_is_gone_once_everything_is_read(self):
        """A half-closed client that reads a long answer slowly must not be taken for a closed one."""
        for order in (1, -1):
            self.setUp()
            self.far.sendall(b"last words")
            for each in (self.far, self.near)[::order]:
                each.shutdown(socket.SHUT_WR)
            self.assertFalse(socket_gone(self.near))
            self.near.recv(4)
            self.assertFalse(socket_gone(self.near))
            self.near.recv(100)
            self.assertTrue(socket_gone(self.near))

    def test_after_our_fin_a_socket_is_not_gone(self):
        self.near.shutdown(socket.SHUT_WR)
        self.assertFalse(socket_gone(self.near))

    def test_a_reset_socket_is_gone_before_the_reset_is_read(self):
        self.far.sendall(b"unread")
        self.reset()
        self.assertTrue(socket_gone(self.near))

    def test_unix_socket_is_gone_once_it_has_an_error(self):
        """Its kernel has no state that tells a peer that has closed from one that has ended its direction."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        self.assertFalse(socket_gone(near))
        far.sendall(b"last words")
        near.sendall(b"unread")
        far.shutdown(socket.SHUT_WR)
        self.assertFalse(socket_gone(near))
        far.close()  # with unread bytes: the error of a reset
        self.assertTrue(socket_gone(near))

    def test_closed_peer_of_a_unix_socket_is_not_gone(self):
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        far.close()
        self.assertFalse(socket_gone(near))
        near.close()
        self.assertTrue(socket_gone(near))

    def test_a_socket_that_was_closed_is_gone(self):
        self.near.close()
        self.assertTrue(socket_gone(self.near))

    def test_a_socket_whose_descriptor_was_closed_is_gone(self):
        os.close(self.near.detach())
        lost = socket.socket(fileno=None)
        os.close(lost.fileno())
        self.assertTrue(socket_gone(lost))
        lost.detach()

    def test_asking_does_not_consume_the_error_of_the_socket(self):
        """The kernel reports an error once, and it is for the relay."""
        self.reset()
        socket_gone(self.near)
        self.assertNotEqual(self.near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)

    def test_a_transport_is_gone_if_its_socket_is(self):
        class Transport:
            def __init__(self, sock):
                self.sock = sock

            def getHandle(self):
                return self.sock

        self.assertFalse(transport_gone(Transport(self.near)))
        self.reset()
        self.assertTrue(transport_gone(Transport(self.near)))

    def test_a_lost_transport_of_twisteds_is_gone(self):
        class Lost:
            connected = 0

            def getHandle(self):
                return self.socket

        self.assertTrue(transport_gone(Lost()))

    def test_for_tls_the_socket_below_is_asked(self):
        class Below:
            def __init__(self, sock):
                self.sock = sock

            def getHandle(self):
                return self.sock

        class Encrypted:
            connected = 1  # as it stays with Twisted's, whatever happens

            def __init__(self, below):
                self.transport = below

            def getHandle(self):
                return object()

        encrypted = Encrypted(Below(self.near))
        self.assertFalse(transport_gone(encrypted))
        self.reset()
        self.assertTrue(transport_gone(encrypted))

    def test_a_transport_in_memory_is_asked_if_it_is_connected(self):
        transport, _ = connection(Clock())
        self.assertFalse(transport_gone(transport))
        transport.connected = False
        self.assertTrue(transport_gone(transport))

    def test_no_transport_is_gone(self):
        self.assertTrue(transport_gone(None))
