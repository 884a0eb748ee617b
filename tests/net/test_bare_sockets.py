"""Sockets without the class above them: what they are, and that nothing blocks."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.bare_sockets import accept, new_stream_socket


class BareSocketTests(SynchronousTestCase):
    def assert_usable(self, sock, family):
        """Of this family, not blocking, and not inherited by other programs."""
        self.assertEqual((sock.family, sock.type), (family, socket.SOCK_STREAM))
        self.assertFalse(os.get_blocking(sock.fileno()))
        self.assertFalse(os.get_inheritable(sock.fileno()))
        self.assertEqual(sock.gettimeout(), 0.0)

    def test_new_ones(self):
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            sock = new_stream_socket(family)
            self.addCleanup(sock.close)
            self.assert_usable(sock, family)

    def test_accepted_ones(self):
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.create_server((host, 0), family=family) as listening:
                listening.setblocking(False)
                self.assertRaises(BlockingIOError, accept, listening, family)
                far = socket.create_connection(listening.getsockname()[:2])
                self.addCleanup(far.close)
                near, peer = accept(listening, family)
                self.addCleanup(near.close)
            self.assert_usable(near, family)
            self.assertEqual(peer, far.getsockname())
            self.assertEqual(near.getpeername(), far.getsockname())
            self.assertRaises(BlockingIOError, near.recv, 1)
            near.send(b"words")
            self.assertEqual(far.recv(5), b"words")
