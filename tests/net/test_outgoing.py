"""What the peers of transports have acknowledged, and have still to acknowledge."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.net.outgoing import acknowledged, acknowledged_by


class _Lost:
    """Twisted's transports delete their socket when the connection is lost."""

    def getHandle(self):
        return self.socket


class AcknowledgedTests(SynchronousTestCase):
    def test_lost_transport_has_nothing_to_acknowledge(self):
        """A relay asks while its other side still gets the rest."""
        self.assertIsNone(acknowledged_by(_Lost(), object()))

    def test_bytes_for_a_unix_socket_are_delivered_at_once(self):
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.send(b"unread")
        self.assertIsNone(acknowledged(near))
