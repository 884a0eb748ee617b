"""What the other live tests rely on in their backends."""

from __future__ import annotations

import socket

from tests.live.backends import Backend, echo
from tests.live.case import LiveCase


class BackendTests(LiveCase):
    def test_another_one_starts_on_the_port_of_a_stopped_one(self):
        """Also while connections of the stopped one are in FIN_WAIT, and after that in TIME_WAIT."""
        port = self.port()
        stopped = Backend(echo, port=port)
        sock = self.connect(port)
        self.assert_echoes(sock)
        stopped.close()
        Backend(echo, port=port).close()
        self.assertEqual(sock.recv(1), b"")
        sock.shutdown(socket.SHUT_WR)
        self.backend(echo, port=port)
        self.assert_echoes(self.connect(port))
