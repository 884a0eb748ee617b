"""``tcpUserTimeout``: a peer that is no longer reachable while data is under way."""

from __future__ import annotations

import time

from tests.live.case import WAYS, LiveCase, route
from tests.live.namespace import Namespace
from tests.live.waiting import until

#: The kernel's own limit is about 15 minutes.
_LIMIT = 10.0


class UserTimeoutTests(LiveCase):
    def printing(self, words, *command):
        """A program that has printed ``words``."""
        program = self.program(*command)

        def has_printed():
            self.assertIsNone(program.ended, program.printed)
            return words in program.printed

        until(has_printed, f"{words!r} printed")
        return program

    def test_unreachable_target_with_data_under_way_is_found(self):
        """Nothing reports its loss: packets to it are not answered any more."""
        for way in WAYS:
            with self.subTest(way=way):
                far, front = Namespace(self), self.port()
                proxy = self.proxy(
                    route("web", front, far.echo(self.port())),
                    tcpUserTimeout="1s",
                    **way,
                )
                client = self.connect(front)
                self.assert_echoes(client)
                far.cut()
                client.sendall(b"lost")
                began = time.monotonic()
                self.assert_gone(client)
                self.assertLess(time.monotonic() - began, _LIMIT)
                self.assertEqual((proxy.active, proxy.closed("upstream_reset")), (0, 1))

    def test_unreachable_client_with_data_under_way_is_found(self):
        """A route may have a limit of its own."""
        for way in WAYS:
            with self.subTest(way=way):
                far, front = Namespace(self), self.port()
                self.more = False
                backend = self.backend(self.echo_and_more)
                proxy = self.proxy(route("web", front, backend, tcpUserTimeout="1s"), **way)
                far.client(front)
                far.cut()
                began = time.monotonic()
                self.more = True
                until(lambda: proxy.closed("client_reset") == 1, "the client's reset", _LIMIT)  # noqa: B023 - this round's
                self.assertLess(time.monotonic() - began, _LIMIT)
                self.assertEqual(proxy.active, 0)

    def echo_and_more(self, _backend, sock):
        """Return a word, and send another one when the test wants it."""
        sock.sendall(sock.recv(4))
        until(lambda: self.more, "the link being cut")
        sock.sendall(b"lost")
        try:
            sock.recv(1)
        except ConnectionResetError:
            return
