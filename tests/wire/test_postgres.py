from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import client_hello, postgres
from smartproxy.wire.postgres import EncryptionAnswer, EncryptionRequest
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_sound, damaged

# As every driver sends them.
SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
GSSENC_REQUEST = bytes.fromhex("00000008 04d21630")
CANCEL_REQUEST = bytes.fromhex("00000010 04d2162e 0000002a 01020304")
STARTUP = bytes.fromhex("00000029 00030000") + b"user\x00postgres\x00database\x00shop\x00\x00"


class RequestTests(SynchronousTestCase):
    def test_both_encryption_requests_are_parsed(self):
        check(self, postgres.parse, SSL_REQUEST, EncryptionRequest.SSL)
        check(self, postgres.parse, GSSENC_REQUEST, EncryptionRequest.GSSENC)

    def test_a_built_request_has_the_documented_bytes(self):
        self.assertEqual(postgres.build(EncryptionRequest.SSL), SSL_REQUEST)
        self.assertEqual(postgres.build(EncryptionRequest.GSSENC), GSSENC_REQUEST)

    def test_other_first_messages_are_malformed(self):
        for data in (
            CANCEL_REQUEST,
            STARTUP,
            bytes.fromhex("00000009 04d2162f"),  # a length that is not its own
            bytes.fromhex("00000008 04d21631"),  # the next number
            bytes.fromhex("08000000 2f16d204"),  # the other end first
            client_hello.build("a.example"),
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            check_refused(self, postgres.parse, data)

    def test_the_first_byte_that_differs_is_enough_to_refuse(self):
        """Its client may wait for a server that sends first, so the proxy must not wait for eight bytes."""
        for data, differs in ((STARTUP, 4), (CANCEL_REQUEST, 4), (b"\x00\x01", 2), (b"\x16\x03", 1)):
            self.assertEqual(postgres.parse(data[: differs - 1]), NeedMore(differs))
            self.assertIsInstance(postgres.parse(data[:differs]), Malformed)

    @PROPERTY
    @given(damaged(SSL_REQUEST, GSSENC_REQUEST, CANCEL_REQUEST, STARTUP))
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, postgres.parse, data)

    @PROPERTY
    @given(damaged(SSL_REQUEST, GSSENC_REQUEST, STARTUP))
    def test_could_be_request_rejects_no_request(self, data):
        for spelled in (data, bytearray(data), memoryview(data)):
            if data and not postgres.could_be_request(spelled):
                self.assertIsInstance(postgres.parse(spelled), Malformed)
        for request in (SSL_REQUEST, GSSENC_REQUEST):
            self.assertTrue(all(postgres.could_be_request(request[:cut]) for cut in range(1, 9)))

    @PROPERTY
    @given(st.sampled_from(EncryptionRequest), st.binary(max_size=40))
    def test_what_was_built_is_parsed_back(self, request, behind):
        data = postgres.build(request)
        self.assertEqual(postgres.parse(data + behind), Done(request, len(data)))
        for cut in range(len(data)):
            self.assertEqual(postgres.parse(data[:cut]), NeedMore(cut + 1))


class AnswerTests(SynchronousTestCase):
    def test_every_answer_is_parsed(self):
        for byte, answer in (
            (b"S", EncryptionAnswer.WILLING),
            (b"N", EncryptionAnswer.UNWILLING),
            (b"E", EncryptionAnswer.ERROR),
        ):
            check(self, postgres.parse_answer, byte, answer)
            self.assertEqual(postgres.build_answer(answer), byte)

    def test_other_bytes_are_not_an_answer(self):
        for data in (b"s", b"\x00", b"H", b"220 ready\r\n", client_hello.build("a.example")):
            check_refused(self, postgres.parse_answer, data)

    @PROPERTY
    @given(st.binary(max_size=40))
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, postgres.parse_answer, data)


class CancelTests(SynchronousTestCase):
    def test_request_with_a_key_of_any_size_is_parsed(self):
        """Four bytes until protocol version 3.0, up to 256 from version 3.2 on."""
        for key in (b"\x01\x02\x03\x04", bytes(32), bytes(256)):
            check(self, postgres.parse_cancel, postgres.build_cancel(42, key), None)

    def test_a_built_request_has_the_documented_bytes(self):
        self.assertEqual(postgres.build_cancel(42, b"\x01\x02\x03\x04"), CANCEL_REQUEST)

    def test_other_first_messages_are_malformed(self):
        for data in (
            SSL_REQUEST,
            GSSENC_REQUEST,
            STARTUP,
            bytes.fromhex("0000000f 04d2162e 0000002a 010203"),  # a key of three bytes
            bytes.fromhex("0000010d 04d2162e 0000002a") + bytes(257),
            bytes.fromhex("00000010 04d2162d 0000002a 01020304"),
            client_hello.build("a.example"),
        ):
            check_refused(self, postgres.parse_cancel, data)

    def test_values_that_do_not_fit_are_refused(self):
        for process, key in ((1 << 31, bytes(4)), (1, b""), (1, bytes(3)), (1, bytes(257))):
            self.assertRaises(ValueError, postgres.build_cancel, process, key)

    @PROPERTY
    @given(st.binary(max_size=300))
    def test_any_bytes_are_parsed_soundly(self, data):
        check_sound(self, postgres.parse_cancel, data)
