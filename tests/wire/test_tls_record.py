from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import tls_record
from smartproxy.wire.tls_record import HandshakeMessage
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import check, check_refused, check_remembers, work

KIND = 1
LIMIT = 60_000
WIRE_LIMIT = 65_536


def parse(data):
    return tls_record.handshake_message(data, KIND, LIMIT, WIRE_LIMIT)


def reader():
    return HandshakeMessage(KIND, LIMIT, WIRE_LIMIT)


def message(body, kind=KIND):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def records(payload, size=2**14, **how):
    return tls_record.wrap(tls_record.HANDSHAKE, payload, size=size, **how)


class HandshakeMessageTests(SynchronousTestCase):
    def test_a_message_in_one_record_is_parsed(self):
        check(self, parse, records(message(b"hello")), b"hello")

    def test_a_message_in_records_of_every_size_is_reassembled(self):
        body = bytes(range(100))
        for size in [1, 2, 3, 4, 5, 7, 50, 103, 104]:
            check(self, parse, records(message(body), size), body)

    def test_a_message_in_full_records_is_reassembled(self):
        body = b"x" * 40_000
        data = records(message(body))
        self.assertEqual(len(data), 40_004 + 3 * 5)
        self.assertEqual(parse(data + b"y"), Done(body, len(data)))
        # No further than behind the next header, which may be that of a record which is not allowed there.
        self.assertEqual(parse(data[:9]), NeedMore(5 + 2**14 + 5))
        self.assertEqual(parse(data[:-10]), NeedMore(len(data)))

    def test_every_minor_version_is_accepted(self):
        for version in (0x0300, 0x0301, 0x0303, 0x03FF):
            self.assertEqual(parse(records(message(b"a"), version=version)).value, b"a")

    def test_each_violation_has_its_reason(self):
        """The alert that the client gets depends on it."""
        for data, why in [
            (b"\x17\x03\x03\x00\x01x", tls_record.OTHER_RECORD),
            (b"\x16\x02\x00\x00\x01x", tls_record.OTHER_RECORD),
            (b"\x80\x2e\x01\x03\x01", tls_record.OTHER_RECORD),  # SSLv2
            (b"\x16\x03\x01\x00\x00", tls_record.EMPTY_RECORD),
            (records(message(bytes(2**14 - 3)), 2**15), tls_record.LONG_RECORD),
            (records(message(b"a", kind=2)), tls_record.OTHER_MESSAGE),
            (records(message(b"a") + message(b"b")), tls_record.SECOND_MESSAGE),
        ]:
            check_refused(self, parse, data)
            self.assertIs(parse(data), why)

    def test_another_record_between_fragments_is_malformed(self):
        data = records(message(b"abcdefgh"), 6)
        for other in (b"\x15\x03\x03\x00\x02\x01\x00", b"\x17\x03\x03\x00\x01x", b"\x14\x03\x03\x00\x01\x01"):
            check_refused(self, parse, data[:11] + other + data[11:])

    def test_another_record_is_refused_before_the_message_is_complete(self):
        """The client waits for an answer, and sends nothing more."""
        whole = records(message(bytes(40_000)))
        for fragments in (1, 2):
            begun = whole[: fragments * (5 + 2**14)]
            self.assertIs(parse(begun + b"\x17\x03\x03\x00\x05hello"), tls_record.OTHER_RECORD)

    def test_another_message_is_refused_by_its_first_byte(self):
        self.assertIs(parse(b"\x16\x03\x01\x40\x00\x02"), tls_record.OTHER_MESSAGE)
        self.assertIs(parse(b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x00"), tls_record.EMPTY_RECORD)

    def test_a_message_over_the_limit_is_refused_by_its_length(self):
        fits = records(message(bytes(LIMIT)), 2**14)
        self.assertIsInstance(parse(fits), Done)
        self.assertIsInstance(parse(records(message(bytes(LIMIT + 1)))[:9]), Malformed)
        self.assertIsInstance(parse(records(message(b""))[:6] + b"\xff\xff\xff"), Malformed)

    def test_a_message_whose_records_are_over_the_limit_is_refused(self):
        """Six bytes for each byte of the message."""
        fits = records(message(bytes(WIRE_LIMIT // 6 - 4)), 1)
        self.assertIsInstance(parse(fits), Done)
        too_long = records(message(bytes(WIRE_LIMIT // 6 - 3)), 1)
        self.assertIsInstance(parse(too_long), Malformed)
        self.assertIsInstance(parse(too_long[:WIRE_LIMIT]), Malformed)
        self.assertIsInstance(work(reader(), too_long, 4)[1], Malformed)

    def test_pieces_give_the_verdicts_of_the_whole(self):
        for data in (
            records(message(bytes(range(200))), 7),
            records(message(b"abc")),
            records(message(b"")),
            records(message(bytes(9)), 1) + b"x",
            records(message(bytes(9)), 3)[:16] + b"\x17\x03\x03\x00\x01x",
        ):
            check_remembers(self, reader(), parse, data)

    def test_small_records_and_pieces_take_linear_time(self):
        """A hello in records of one byte, in pieces of one byte, would be walked over thousands of times."""
        for record, piece in ((1, 1), (1, 4), (2**14, 4), (50, 3)):
            data = records(message(bytes(9_000)), record)
            seen, verdict = work(reader(), data, piece)
            self.assertIsInstance(verdict, Done)
            self.assertLess(seen, 12 * len(data), (record, piece))


class WrapTests(SynchronousTestCase):
    def test_payload_is_cut_into_records_of_the_size_asked_for(self):
        self.assertEqual(tls_record.wrap(21, b"abc", size=2), b"\x15\x03\x03\x00\x02ab\x15\x03\x03\x00\x01c")
        self.assertEqual(tls_record.wrap(22, b"", version=0x0301), b"")
