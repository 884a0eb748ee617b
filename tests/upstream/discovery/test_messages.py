"""Questions to name servers, and what is believed of their answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.upstream.discovery.interfaces import Service
from smartproxy.upstream.discovery.messages import RecordType, question, read_reply

A, AAAA, SRV = RecordType.A, RecordType.AAAA, RecordType.SRV


def record(name, payload, ttl=60):
    return dns.RRHeader(name.encode(), payload.TYPE, dns.IN, ttl, payload)


def reply(name, kind, *records, number=7, **more):
    """The bytes of an answer."""
    message = dns.Message(id=number, answer=1, maxSize=0, **more)
    message.addQuery(name.encode(), kind, dns.IN)
    message.answers = list(records)
    return message.toStr()


def read(data, name="app.test", kind=A):
    return read_reply(data, 7, name, kind)


class QuestionTests(SynchronousTestCase):
    def test_question_announces_room_for_long_answers(self):
        message = dns.Message()
        message.fromStr(question(7, "app.test", SRV))
        self.assertEqual((message.id, message.answer, message.recDes), (7, 0, 1))
        self.assertEqual((message.queries[0].name.name, message.queries[0].type), (b"app.test", 33))
        self.assertEqual([(one.type, one.cls) for one in message.additional], [(41, 1232)])

    def test_question_for_an_old_server_does_not(self):
        message = dns.Message()
        message.fromStr(question(7, "app.test", A, extended=False))
        self.assertEqual(message.additional, [])


class ReplyTests(SynchronousTestCase):
    def test_addresses_and_the_least_ttl(self):
        found = read(
            reply(
                "app.test",
                A,
                record("app.test", dns.Record_A("192.0.2.1"), 30),
                record("app.test", dns.Record_A("192.0.2.2"), 9),
            )
        )
        self.assertEqual((found.records, found.ttl), (("192.0.2.1", "192.0.2.2"), 9))

    def test_aliases_are_followed_and_shorten_the_ttl(self):
        found = read(
            reply(
                "app.test", A,
                record("APP.test", dns.Record_CNAME("x.test"), 5),
                record("x.test", dns.Record_CNAME("y.test"), 50),
                record("y.test", dns.Record_A("192.0.2.1"), 30),
            )
        )  # fmt: skip
        self.assertEqual((found.name, found.records, found.ttl), ("y.test", ("192.0.2.1",), 5))

    def test_aliases_in_a_circle_end(self):
        one, other = (
            record("app.test", dns.Record_CNAME("x.test")),
            record("x.test", dns.Record_CNAME("app.test")),
        )
        self.assertEqual(read(reply("app.test", A, one, other)).records, ())

    def test_records_of_other_names_and_types_are_ignored(self):
        found = read(
            reply(
                "app.test", A,
                record("evil.test", dns.Record_A("192.0.2.9")),
                record("app.test", dns.Record_AAAA("2001:db8::1")),
            )
        )  # fmt: skip
        self.assertEqual(found.records, ())

    def test_ipv6_addresses(self):
        found = read(reply("app.test", AAAA, record("app.test", dns.Record_AAAA("2001:db8::1"))), kind=AAAA)
        self.assertEqual(found.records, ("2001:db8::1",))

    def test_services(self):
        records = [
            record("_x._tcp.test", dns.Record_SRV(10, 5, 81, "A.test.")),
            record("_x._tcp.test", dns.Record_SRV(0, 0, 0, "b.test")),
        ]
        found = read(reply("_x._tcp.test", SRV, *records), "_x._tcp.test", SRV)
        self.assertEqual(found.records, (Service(10, 5, 81, "a.test"),))
        self.assertFalse(found.is_unavailable)

    def test_service_that_is_not_available(self):
        found = read(
            reply("_x._tcp.test", SRV, record("_x._tcp.test", dns.Record_SRV(0, 0, 0, ""))),
            "_x._tcp.test",
            SRV,
        )
        self.assertEqual((found.records, found.is_unavailable), ((), True))

    def test_code_and_truncation(self):
        found = read(reply("app.test", A, rCode=3, trunc=1))
        self.assertEqual((found.code, found.is_truncated, found.ttl), (3, True, None))

    def test_answers_to_other_questions_are_ignored(self):
        right = reply("app.test", A)
        for wrong in (
            reply("app.test", A, number=8),
            reply("other.test", A),
            reply("app.test", AAAA),
            question(7, "app.test", A),
            b"",
            right[:11],
        ):
            self.assertIsNone(read(wrong), wrong)
        self.assertIsNotNone(read(right))
        self.assertIsNotNone(read(reply("App.TEST", A)))

    @given(st.binary(max_size=80))
    def test_no_bytes_raise_an_exception(self, data):
        read(data)
        read(reply("app.test", A, record("app.test", dns.Record_A("192.0.2.1")))[:12] + data)
