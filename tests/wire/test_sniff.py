from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import client_hello
from smartproxy.wire.sniff import SniffedProtocol, sniff
from smartproxy.wire.verdict import Done, NeedMore
from tests.wire.ways import PROPERTY

HELLO = client_hello.build("a.example")


class SniffTests(SynchronousTestCase):
    def decided(self, data):
        """The protocol of ``data`` and after how many bytes it was detected, in one piece or byte by byte."""
        for count in range(len(data) + 1):
            verdict = sniff(data[:count])
            if isinstance(verdict, Done):
                for more in range(count, len(data) + 1):
                    self.assertEqual(sniff(memoryview(data)[:more]), verdict)
                self.assertEqual(verdict.consumed, 0)
                self.assertEqual(sniff(bytearray(data) + b"\x16\x03GET / "), verdict)
                return verdict.value, count
            self.assertEqual(verdict, NeedMore(count + 1))
        return None

    def test_a_protocol_is_detected_at_the_earliest_byte(self):
        """A client of another protocol may send two bytes and wait for the answer."""
        for data, kind, count in [
            (HELLO, SniffedProtocol.TLS, 2),
            (b"\x16\x02", SniffedProtocol.RAW, 2),
            (b"\x17\x03", SniffedProtocol.RAW, 1),
            (b"GET / HTTP/1.1\r\n", SniffedProtocol.HTTP, 4),
            (b"OPTIONS * HTTP/1.1\r\n", SniffedProtocol.HTTP, 8),
            (b"PROPFIND /x HTTP/1.1\r\n", SniffedProtocol.HTTP, 10),
            (b"BASELINE-CONTROL /x HTTP/1.1\r\n", SniffedProtocol.HTTP, 18),
            (b"get / HTTP/1.1\r\n", SniffedProtocol.RAW, 1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SniffedProtocol.RAW, 5),
            (b"SSH-2.0-OpenSSH_9.2\r\n", SniffedProtocol.RAW, 5),
            (b"EHLO a.example\r\n", SniffedProtocol.RAW, 6),
            (b"QUIT\r\n", SniffedProtocol.RAW, 5),
            (b"PROXY TCP4 ", SniffedProtocol.RAW, 7),
            (b"A" * 40, SniffedProtocol.RAW, 17),
            (b"\x80\x2e\x01\x03\x01", SniffedProtocol.RAW, 1),
            (b"*1\r\n$4\r\nPING\r\n", SniffedProtocol.RAW, 1),
        ]:
            self.assertEqual(self.decided(data), (kind, count), data)

    def test_undecided_bytes_need_one_more(self):
        for data in [b"", b"\x16", b"G", b"PROPFIND "]:
            self.assertEqual(sniff(data), NeedMore(len(data) + 1))

    @PROPERTY
    @given(st.binary(max_size=40))
    def test_eighteen_bytes_are_always_enough(self, data):
        verdict = sniff(data)
        self.assertIsInstance(verdict, Done | NeedMore)
        if len(data) >= 18:
            self.assertIsInstance(verdict, Done)
