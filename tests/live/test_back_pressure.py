"""A peer that does not read pauses the other one, in bounded memory; a late answer still arrives whole."""

from __future__ import annotations

import os
import socket
import time

from tests.live.backends import ON_THE_WAY, endless, read_to_end
from tests.live.case import LiveCase
from tests.live.waiting import settled, until

_CHUNK = bytes(256 * 1024)
#: Bytes that the proxy's memory may grow by.
_MEMORY = 4 * 1024 * 1024


def _deaf(backend, sock):
    """Read nothing until the test has ended the client."""
    backend.seen.append(sock)
    until(lambda: len(backend.seen) == 2, "the end of the test", 20)


class BackPressureTests(LiveCase):
    def test_client_that_never_reads_pauses_the_backend(self):
        """The backend can send what the buffers hold and no more; the proxy neither grows nor spins."""
        backend = self.backend(endless)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                before = proxy.rss
                client = self.connect(front)
                until(lambda: backend.seen and backend.seen[-1], "the backend sending")
                self.assertLess(settled(lambda: backend.seen[-1]), ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                used = proxy.cpu
                time.sleep(0.3)  # what is measured is the time itself
                self.assertLess(proxy.cpu - used, 0.1, "it spins")
                client.recv(1 << 20)
                client.close()
                proxy.emptied()

    def test_backend_that_never_reads_pauses_the_client(self):
        """The client can send what the buffers hold and no more, and the proxy does not grow."""
        backend = self.backend(_deaf)
        for relay, proxy, front in self.each_relay(backend):
            with self.subTest(relay=relay):
                backend.seen.clear()
                before = proxy.rss
                client = self.connect(front)
                client.settimeout(0.5)
                taken = 0
                with self.assertRaises(TimeoutError):
                    while taken < 1 << 30:
                        taken += client.send(_CHUNK)
                self.assertLess(taken, ON_THE_WAY)
                self.assertLess(proxy.rss - before, _MEMORY)
                client.close()
                backend.seen.append("done")
                proxy.emptied()

    def test_late_answer_to_a_half_closed_client_arrives_whole(self):
        """A FIN of the client ends one direction only: the other stays open for as long as bytes flow."""
        answer = os.urandom(1 << 20) * 9
        for relay, proxy, front in self.each_relay(self.backend(_late(answer))):
            with self.subTest(relay=relay):
                client = self.connect(front)
                client.sendall(b"question")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(read_to_end(client), answer)
                client.close()
                proxy.emptied()
                self.assertEqual(proxy.closed("normal"), 1)
                self.assertEqual(proxy.moved, (len(b"question"), len(answer)))


def _late(answer):
    def serve(_backend, sock):
        read_to_end(sock)
        time.sleep(0.3)  # the delay is what is tested
        sock.sendall(answer)

    return serve
