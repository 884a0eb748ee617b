"""Is a socket still there?"""

from __future__ import annotations

import os
import socket
import struct

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.liveness import socket_gone, transport_gone
from tests.pipes import connection


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

    def test_one_that_is_connected_is_there(self):
        self.assertFalse(socket_gone(self.near))

    def test_a_fin_is_no_end(self):
        self.far.sendall(b"unread")
        self.far.shutdown(socket.SHUT_WR)
        self.assertFalse(socket_gone(self.near))

    def test_two_are_the_end_when_everything_has_been_read(self):
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

    def test_our_own_fin_is_no_end(self):
        self.near.shutdown(socket.SHUT_WR)
        self.assertFalse(socket_gone(self.near))

    def test_one_that_was_reset_is_gone_though_nobody_has_read_it(self):
        self.far.sendall(b"unread")
        self.reset()
        self.assertTrue(socket_gone(self.near))

    def test_one_that_was_closed_under_us_is_gone(self):
        self.near.close()
        self.assertTrue(socket_gone(self.near))

    def test_one_whose_descriptor_was_closed_under_us_is_gone(self):
        os.close(self.near.detach())
        lost = socket.socket(fileno=None)
        os.close(lost.fileno())
        self.assertTrue(socket_gone(lost))
        lost.detach()

    def test_the_kernel_is_asked_and_nothing_is_taken_from_the_socket(self):
        """An error that waits to be read is still for the relay to find."""
        self.reset()
        socket_gone(self.near)
        self.assertNotEqual(self.near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 0)

    def test_a_transport_is_asked_for_its_socket(self):
        class Transport:
            def __init__(self, sock):
                self.sock = sock

            def getHandle(self):
                return self.sock

        self.assertFalse(transport_gone(Transport(self.near)))
        self.reset()
        self.assertTrue(transport_gone(Transport(self.near)))

    def test_one_of_twisteds_that_is_lost_has_no_socket_to_ask(self):
        class Lost:
            connected = 0

            def getHandle(self):
                return self.socket

        self.assertTrue(transport_gone(Lost()))

    def test_under_encryption_it_is_the_socket_below(self):
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

    def test_in_memory_it_is_asked_whether_it_is_connected(self):
        transport, _ = connection(Clock())
        self.assertFalse(transport_gone(transport))
        transport.connected = False
        self.assertTrue(transport_gone(transport))

    def test_none_at_all_is_gone(self):
        self.assertTrue(transport_gone(None))
