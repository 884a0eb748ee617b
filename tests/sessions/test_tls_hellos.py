"""Hellos that no usual client sends, written byte by byte, and what a client that terminates TLS here is answered."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.wire import client_hello, tls_alert, tls_record
from smartproxy.wire.tls_alert import Alert
from smartproxy.wire.verdict import Done
from tests.sessions.tls_case import TlsTestCase
from tests.tls.talk import client

#: Where the version is in a hello that is one record, behind the heads of record and message.
_VERSION_AT = 9


class HelloTests(TlsTestCase):
    def setUp(self):
        super().setUp()
        self.start()

    def hello(self, **more) -> bytes:
        """The hello of OpenSSL."""
        connection = client(self.authority, **more)
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return connection.bio_read(1 << 17)
        raise AssertionError("a handshake without a server")

    def answered(self, *pieces: bytes) -> bytes:
        end = self.network.connect(443)
        for piece in pieces:
            end.write(piece)
            self.settle()
        return end.received

    def assert_alert(self, received: bytes, alert: Alert):
        verdict = tls_alert.parse(received)
        self.assertIsInstance(verdict, Done, received[:100])
        self.assertEqual(verdict.value.description, alert)

    def test_a_later_version_goes_on_as_tls_1_2(self):
        """RFC 5246, E.1: a server answers with the latest version that it has."""
        hello = self.hello(most=SSL.TLS1_2_VERSION)
        for version in (b"\x03\x04", b"\x03\x05", b"\x04\x00", b"\xff\xff"):
            received = self.answered(hello[:_VERSION_AT] + version + hello[_VERSION_AT + 2 :])
            # A ServerHello (2) of version 3, 3.
            self.assertEqual((received[0], received[5], received[9:11]), (22, 2, b"\x03\x03"), version)

    def test_an_earlier_version_is_refused_with_protocol_version(self):
        hello = self.hello(most=SSL.TLS1_2_VERSION)
        for version in (b"\x00\x02", b"\x02\x00", b"\x03\x00", b"\x03\x01", b"\x03\x02"):
            received = self.answered(hello[:_VERSION_AT] + version + hello[_VERSION_AT + 2 :])
            self.assert_alert(received, Alert.PROTOCOL_VERSION)

    def test_another_message_is_unexpected(self):
        for message in (b"\x00\x00\x00\x00", b"\x02\x00\x00\x02\x03\x03", b"\x14\x00\x00\x0c" + bytes(12)):
            received = self.answered(tls_record.wrap(tls_record.HANDSHAKE, message))
            self.assert_alert(received, Alert.UNEXPECTED_MESSAGE)

    def test_a_second_message_behind_the_hello_is_unexpected(self):
        message = self.hello()[5:]
        for second in (b"\x01\x00\x00\x00", message, b"\x10\x00\x00\x01a"):
            received = self.answered(tls_record.wrap(tls_record.HANDSHAKE, message + second))
            self.assert_alert(received, Alert.UNEXPECTED_MESSAGE)

    def test_other_records_within_a_hello_are_answered_at_once(self):
        """Half of a hello, and then application data: nothing more will come."""
        message = self.hello()[5:]
        for cut in (1, 3, 100, len(message) - 1):
            for kind in (tls_record.ALERT, 0x14, 0x17, 0x18):
                half = tls_record.wrap(tls_record.HANDSHAKE, message[:cut])
                received = self.answered(half, tls_record.wrap(kind, b"\x01\x01"))
                self.assert_alert(received, Alert.UNEXPECTED_MESSAGE)

    def test_a_record_of_no_bytes_is_unexpected(self):
        message = self.hello()[5:]
        half = tls_record.wrap(tls_record.HANDSHAKE, message[:50])
        self.assert_alert(self.answered(half + b"\x16\x03\x03\x00\x00"), Alert.UNEXPECTED_MESSAGE)

    def test_a_record_over_16_kib_is_an_overflow(self):
        large = client_hello.build("a.example", size=20_000, record_size=1 << 16)
        self.assert_alert(self.answered(large[:100]), Alert.RECORD_OVERFLOW)
        first = tls_record.wrap(tls_record.HANDSHAKE, self.hello()[5:50])
        self.assert_alert(self.answered(first, b"\x16\x03\x03\xff\xff"), Alert.RECORD_OVERFLOW)

    def test_lengths_that_do_not_add_up_are_decode_errors(self):
        hello = bytearray(self.hello())
        hello[43] = 255  # the length of the session id
        self.assert_alert(self.answered(bytes(hello)), Alert.DECODE_ERROR)
        self.assert_alert(self.answered(b"\x16\x03\x01\x40\x00\x01\x03\x00\x00"), Alert.DECODE_ERROR)

    def test_a_post_quantum_hello_in_records_of_one_byte_is_served(self):
        message = self.hello()[5:]
        self.assertGreater(len(message), 1200)
        received = self.answered(tls_record.wrap(tls_record.HANDSHAKE, message, version=0x0301, size=1))
        self.assertEqual((received[0], received[5]), (22, 2))

    def test_a_hello_of_128_kib_reaches_openssl(self):
        """It has keys of zeros, which OpenSSL refuses; a hello over our own limit gets another alert."""
        large = client_hello.build(
            "a.example", cipher_suites=[0x1301] * 32_000, extensions=[(99, bytes(65_000))]
        )
        pieces = [large[at : at + 16_000] for at in range(0, len(large), 16_000)]
        self.assert_alert(self.answered(*pieces), Alert.ILLEGAL_PARAMETER)
        self.assertEqual(self.handshakes(), {("failed", "none"): 1})
