"""What goes through TLS that ends here: the same bytes, the right number of them, and an end that is true."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading

from tests.live.backends import echo, read_to_end, reset
from tests.live.terminating import TLS_CUT, TLS_WAYS, TlsCase
from tests.live.waiting import until

#: Bytes: no multiple of any buffer or record, and more than all buffers on the way hold together.
_UP, _DOWN = 12 * 1024 * 1024 + 7919, 8 * 1024 * 1024 + 104729


def _sum(data):
    return hashlib.sha256(data).hexdigest()


def _content(size, seed):
    return (random.Random(seed).randbytes(1 << 20) * (size // (1 << 20) + 1))[:size]


class ExactTests(TlsCase):
    def test_both_directions_at_once(self):
        """The sums of both ends agree, and the bytes counted are those that were inside the encryption."""
        up, down = _content(_UP, 1), _content(_DOWN, 2)

        def serve(backend, sock):
            sending = threading.Thread(target=sock.sendall, args=(down,))
            sending.start()
            got = read_to_end(sock, len(up))
            sending.join()
            backend.seen.append((len(got), _sum(got)))

        for way in TLS_WAYS:
            with self.subTest(way=way):
                proxy, backend, port = self.terminator(serve, **way)
                client = self.tls_end(port)
                got = client.exchange(up)  # which fails where it ends without a close_notify
                client.sock.close()
                proxy.emptied()
                self.assertEqual(backend.seen, [(_UP, _sum(up))])
                self.assertEqual((len(got), _sum(got)), (_DOWN, _sum(down)))
                self.assertEqual(proxy.moved, (_UP, _DOWN))


class EndTests(TlsCase):
    def both(self, serve):
        """One proxy after the other, with either relay, before a backend that does ``serve``."""
        for way in TLS_WAYS:
            yield self.terminator(serve, **way)

    def test_the_client_ends_in_order(self):
        """Its close_notify reaches the backend as a FIN, and the backend's FIN the client as a close_notify."""

        def serve(backend, sock):
            echo(backend, sock)
            backend.seen.append("end")

        for proxy, backend, port in self.both(serve):
            client = self.secure(port)
            self.assert_echoes(client)
            client.unwrap().close()  # fails where the close_notify does not come
            proxy.emptied()
            self.assertEqual(backend.seen, ["end"])
            until(lambda: proxy.closed("normal") == 1, "an end in order")  # noqa: B023 - this round's
            self.assertEqual(proxy.moved, (5, 5))

    def test_the_backend_ends_in_order(self):
        for proxy, _, port in self.both(lambda _, sock: sock.sendall(b"all of it")):
            client = self.secure(port)
            self.assertEqual(read_to_end(client), b"all of it")
            client.unwrap().close()
            proxy.emptied()
            until(lambda: proxy.closed("normal") == 1, "an end in order")  # noqa: B023 - this round's

    def test_a_long_answer_to_a_client_that_has_ended(self):
        """A close_notify ends one direction (RFC 8446, 6.1), and the answer still comes whole."""
        answer = _content(3 << 20, 3)

        def serve(_, sock):
            read_to_end(sock)
            sock.sendall(answer)

        for proxy, _, port in self.both(serve):
            client = self.tls_end(port)
            client.write(b"question")
            client.end()
            self.assertEqual(_sum(client.read_to_end()), _sum(answer))
            proxy.emptied()
            self.assertEqual(proxy.moved, (len(b"question"), len(answer)))

    def test_a_backend_that_dies_is_a_cut(self):
        """A client of a backend that was reset in the middle never sees a clean end of what it got."""

        def serve(_, sock):
            sock.sendall(os.urandom(100_000))
            sock.recv(1)
            reset(sock)

        for proxy, _, port in self.both(serve):
            client = self.secure(port)
            self.read(client, 100_000)
            client.sendall(b".")
            with self.assertRaises(TLS_CUT):
                client.recv(1)
            proxy.emptied()
            until(lambda: proxy.closed("upstream_reset") == 1, "the reset, counted")  # noqa: B023 - this round's

    def test_a_client_that_dies_is_a_cut(self):
        """A FIN without a close_notify may be anybody's: the backend sees a reset, and no end of the request."""

        def serve(backend, sock):
            self.read(sock, 5)
            try:
                backend.seen.append(sock.recv(1))
            except ConnectionResetError:
                backend.seen.append("reset")

        for proxy, backend, port in self.both(serve):
            client = self.secure(port)
            client.sendall(b"words")
            until(lambda: proxy.moved == (5, 0), "what was said, brought")  # noqa: B023 - this round's
            socket.socket.shutdown(client, socket.SHUT_WR)
            until(lambda: backend.seen, "what the backend sees")  # noqa: B023 - this round's
            self.assertEqual(backend.seen, ["reset"])
            proxy.emptied()
            until(lambda: proxy.closed("client_reset") == 1, "the cut, counted")  # noqa: B023 - this round's
