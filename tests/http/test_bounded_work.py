"""The work of a hostile request is linear in its bytes: twice as many cost at most twice as much, however they are cut.

Work is counted and not timed: calls of Python functions, and bytes that are looked at or copied.
"""

from __future__ import annotations

from tests.counting import counted
from tests.http.case import GET, OK, POST, UPGRADE, HttpCase, parts

#: Of the smaller of two sizes. Below the limit of a head also when it is doubled, so that its bytes are not simply dropped.
BEGUN, REFUSED = 4_000, 70_000
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class Traced(bytes):
    """Received bytes that count how many of them are looked at or copied, together with what was received behind them."""

    seen = 0

    def __add__(self, data):
        Traced.seen += len(self) + len(data)
        return Traced(bytes(self) + data)

    def __getitem__(self, key):
        found = super().__getitem__(key)
        Traced.seen += len(found) if isinstance(key, slice) else 1
        return found

    def find(self, wanted, begin=0, end=None):
        end = len(self) if end is None else min(len(self), end)
        at = super().find(wanted, begin, end)
        Traced.seen += max((end if at < 0 else at) - begin, 0)
        return at


def target(size):
    return b"GET /" + b"a" * size


def one_field(size):
    return GET[:-2] + b"X: " + b"a" * size


def many_fields(size):
    return GET[:-2] + b"X: a\r\n" * (size // 6)


def small_chunks(size):
    return CHUNKED + b"1\r\nx\r\n" * (size // 6)


def extension(size):
    return CHUNKED + b"1;" + b"a" * size


def trailers(size):
    return CHUNKED + b"0\r\n" + b"X: a\r\n" * (size // 6)


def long_trailer(size):
    return CHUNKED + b"0\r\nX: " + b"a" * size


class BoundedWorkTests(HttpCase):
    def work(self, data, size):
        """Calls and bytes for a request on a kept connection that is received in pieces of ``size``; the status, 0 for none."""
        client = self.connect()
        self.exchange(client)
        (connection,) = self.proxy._runtime.http_clients
        before, Traced.seen = len(client.received), 0
        total = 0
        for at in range(0, len(data), size):
            with counted() as calls:
                connection.data_received(Traced(data[at : at + size]))
            total += calls.count
            self.network.settle()
        received = client.received[before:]
        client.rst()
        self.network.settle()
        return total, Traced.seen, parts(received)[0] if received else 0

    def upstreams(self):
        """What reads the connections to the target."""
        ends = [end.transport.peer.protocol for end in self.backend.connections if not end.gone]
        return [end.receiver for end in ends if end.receiver is not None]

    def check(self, make, size, status):
        small = 1 if size == BEGUN else 16
        for piece, most_calls, most_seen in ((small, 25, 5), (16 * 1024, 2, 5)):
            calls, seen, _ = self.work(make(size), piece)
            more_calls, more_seen, found = self.work(make(2 * size), piece)
            told = f"{make.__name__} in pieces of {piece}: {calls} {more_calls}, {seen} {more_seen}"
            self.assertEqual(found, status, told)
            self.assertLess(more_calls, 2.1 * calls + 500, told)
            self.assertLess(more_seen, 2.1 * seen + 1000, told)
            self.assertLess(more_calls, most_calls * 2 * size, told)
            self.assertLess(more_seen, most_seen * 2 * size, told)

    def test_heads_that_do_not_end(self):
        for make in (target, one_field):
            self.check(make, BEGUN, 0)

    def test_heads_over_a_limit(self):
        for make, status in ((target, 414), (one_field, 431), (many_fields, 431)):
            self.check(make, REFUSED, status)

    def test_chunks_of_one_byte(self):
        self.check(small_chunks, BEGUN, 0)

    def test_lists_of_many_members(self):
        """Each member of them would be compared, several times: 60 KB of members cost no more than other bytes."""
        for name in (b"Connection", b"Upgrade"):
            for member in (b"a,", b",", b"%d,"):
                members = b"".join(member % number if b"%" in member else member for number in range(10_000))
                connection = b"" if name == b"Connection" else b"Connection: Upgrade\r\n"
                fields = b"%b%b: %b\r\n\r\n" % (connection, name, members)
                client = self.connect()
                self.exchange(client)
                (served,) = self.proxy._runtime.http_clients
                with counted(builtins=True) as calls:
                    served.data_received(GET[:-2] + fields)
                self.assertLess(calls.count, 1000, fields[:40])
                self.network.settle()
                self.assertEqual(parts(client.received[len(OK) :])[0], 400)
                client.rst()
                self.network.settle()

    def test_lists_of_many_members_of_a_target(self):
        for status in (b"200 OK", b"103 Early Hints", b"101 Switching Protocols"):
            for name in (b"Connection", b"Upgrade"):
                client = self.connect(said=UPGRADE)
                (upstream,) = [each for each in self.upstreams() if each._user is not None]
                with counted(builtins=True) as calls:
                    upstream.data_received(
                        b"HTTP/1.1 %b\r\n%b: websocket%b\r\n\r\n" % (status, name, b",a" * 10_000)
                    )
                self.assertLess(calls.count, 1000, (status, name))
                self.network.settle()
                self.assertEqual(parts(client.received)[0], 502)

    def test_extensions_and_trailers_that_do_not_end(self):
        for make in (extension, trailers, long_trailer):
            self.check(make, REFUSED, 400)
