"""Every write is cut to a few bytes in both directions, with TLS on one side or both: the plaintext is unchanged."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time

from tests.live.backends import read_to_end
from tests.live.terminating import INNER, TLS_WAYS, ReEncryptingCase
from tests.live.tls_end import TlsEnd

_BYTES = 20_000
_UP, _DOWN = (random.Random(seed).randbytes(_BYTES) for seed in (4, 5))


def _sum(data):
    return hashlib.sha256(data).hexdigest()


class _Pieces:
    """Sends in writes of 1 to 7 bytes (a segment each if the kernel is quick enough), with random short pauses."""

    def __init__(self, seed):
        self._chance = random.Random(seed)

    def __call__(self, sock, data):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        at = 0
        while at < len(data):
            size = self._chance.randint(1, 7)
            sock.sendall(data[at : at + size])
            at += size
            if self._chance.random() < 0.01:
                time.sleep(self._chance.random() / 500)  # the delay is what is tested


class CutWriteTests(ReEncryptingCase):
    """The handshakes are cut, too."""

    def test_tiny_writes_over_terminated_tls(self):
        def serve(backend, sock):
            sending = threading.Thread(target=_Pieces(1), args=(sock, _DOWN))
            sending.start()
            backend.seen.append(read_to_end(sock))
            sending.join()

        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, backend, port = self.terminator(serve, **way)
                self.assert_same(proxy, backend, port)

    def test_tiny_writes_over_tls_on_both_sides(self):
        context = self.authority.server(INNER)

        def serve(backend, sock):
            end = TlsEnd(sock, context, None, send=_Pieces(2))
            end.handshake()
            end.write(_DOWN)
            backend.seen.append(end.read_to_end())
            end.end()

        for way in TLS_WAYS:
            with self.subTest(way=way):
                backend = self.backend(serve)
                proxy, port = self.re_encrypting(backend, **way)
                self.assert_same(proxy, backend, port)

    def assert_same(self, proxy, backend, port):
        client = self.tls_end(port, send=_Pieces(3))
        client.write(_UP)
        client.end()
        self.assertEqual(_sum(client.read_to_end()), _sum(_DOWN))
        client.sock.close()
        proxy.emptied()
        self.assertEqual([_sum(seen) for seen in backend.seen], [_sum(_UP)])
        self.assertEqual(proxy.moved, (_BYTES, _BYTES))
        self.assertEqual(proxy.closed("normal"), 1)
