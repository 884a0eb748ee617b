from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import tls_record
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import check, check_refused

KIND = 1
LIMIT = 65536


def parse(data):
    return tls_record.handshake_message(data, KIND, LIMIT)


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
        self.assertEqual(parse(data[:9]), NeedMore(len(data)))

    def test_every_minor_version_is_accepted(self):
        for version in (0x0300, 0x0301, 0x0303, 0x03FF):
            self.assertEqual(parse(records(message(b"a"), version=version)).value, b"a")

    def test_other_records_are_malformed(self):
        for data in [
            b"\x17\x03\x03\x00\x01x",
            b"\x16\x02\x00\x00\x01x",
            b"\x16\x03\x01\x00\x00",  # empty
            records(message(bytes(2**14 - 3)), 2**15),  # over 2^14
            b"\x80\x2e\x01\x03\x01",  # SSLv2
            records(message(b"a", kind=2)),
        ]:
            check_refused(self, parse, data)

    def test_another_record_between_fragments_is_malformed(self):
        data = records(message(b"abcdefgh"), 6)
        check_refused(self, parse, data[:11] + b"\x15\x03\x03\x00\x02\x01\x00" + data[11:])

    def test_a_second_message_in_the_last_record_is_malformed(self):
        self.assertEqual(
            check_refused(self, parse, records(message(b"a") + message(b"b"))),
            "more than one message in a record",
        )

    def test_a_message_over_the_limit_is_refused_by_its_length(self):
        body = bytes(LIMIT - 4 - 4 * 5)
        fits = records(message(body), 2**14)
        self.assertEqual(len(fits), LIMIT)
        self.assertIsInstance(parse(fits), Done)
        self.assertIsInstance(parse(records(message(body + b"x"))[:9]), Malformed)
        self.assertIsInstance(parse(records(message(b""))[:6] + b"\xff\xff\xff"), Malformed)

    def test_tiny_records_cost_a_bounded_time(self):
        """Each call walks over all records, so both the calls and the records must be few."""
        data = records(message(bytes(1000)), 1)
        asked, wanted = 0, 0
        while True:
            asked += 1
            verdict = parse(data[:wanted])
            if not isinstance(verdict, NeedMore):
                break
            wanted = verdict.at_least
        self.assertIsInstance(verdict, Done)
        self.assertLess(asked, 60)
        self.assertIsInstance(parse(records(message(bytes(1100)), 1)), Malformed)


class WrapTests(SynchronousTestCase):
    def test_payload_is_cut_into_records_of_the_size_asked_for(self):
        self.assertEqual(tls_record.wrap(21, b"abc", size=2), b"\x15\x03\x03\x00\x02ab\x15\x03\x03\x00\x01c")
        self.assertEqual(tls_record.wrap(22, b"", version=0x0301), b"")
