"""Ids, traces and Via: what finds a request again in the logs of other servers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.http.reply import ClientReply
from smartproxy.http.tracing import MOST_PASSED, RandomDigits
from smartproxy.model.address import Endpoint
from smartproxy.wire.http_answer import AnswerHead
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_framing import Body, Framing
from tests.http.case import GET, OK, HttpCase, http_route
from tests.http.made import exchange
from tests.on_network import HOST

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NEW_TRACE = rb"\A00-[0-9a-f]{32}-[0-9a-f]{16}-00\Z"


class TracingTests(HttpCase):
    def setUp(self):
        super().setUp()
        self.log = Path(self.mktemp())
        action = {"targets": [{"host": HOST, "port": 9000}], "headers": {}}
        self.start(
            http_route("traced", 81, action=action),
            http_route("hidden", 82, action={**action, "forwarded_headers": False}),
            proxy_ips=["10.0.0.1"],
            access_log={"path": str(self.log)},
        )

    def sent(self, fields=b"", *, trusted=False, port=81, version=b"1.1"):
        """The fields that the target gets, with their values in order."""
        client = ("10.0.0.1", 5000) if trusted else ("192.0.2.7", 5000)
        self.client = self.connect(port, GET.replace(b"1.1\r\n", version + b"\r\n" + fields), client=client)
        found: dict[bytes, list[bytes]] = {}
        *_, head, _ = bytes(self.backend.connections[-1].received).split(b"\r\n\r\n")
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b": ")
            found.setdefault(name.lower(), []).append(value)
        return found

    def logged(self):
        self.network.run(1)
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    # -- the id

    def test_each_request_has_an_id_that_the_log_has_too(self):
        ids = []
        for _ in range(2):
            (sent,) = self.sent()[b"x-request-id"]
            self.assertRegex(sent, rb"\A[0-9a-f]{32}\Z")
            self.answer()
            ids.append(sent.decode())
        self.assertEqual([line["requestId"] for line in self.logged()], ids)
        self.assertEqual(len(set(ids)), 2)

    def test_the_id_of_a_trusted_proxy_is_kept(self):
        self.assertEqual(self.sent(b"x-request-ID: abc-1\r\n", trusted=True)[b"x-request-id"], [b"abc-1"])
        self.answer()
        self.assertEqual(self.logged()[0]["requestId"], "abc-1")

    def test_the_id_of_anyone_else_is_replaced(self):
        found = self.sent(b"X-Request-Id: abc\r\nX_Request_Id: abc\r\nx.request-id: abc\r\n")
        self.assertRegex(found[b"x-request-id"][0], rb"\A[0-9a-f]{32}\Z")
        self.assertEqual(len(found[b"x-request-id"]), 1)
        self.assertEqual(found.keys() & {b"x_request_id", b"x.request-id"}, set())

    def test_a_trusted_id_that_is_none_is_replaced(self):
        for sent in (b"a b", b"a" * 201, b"\xe9", b"", b'"', b"a\r\nX-Request-Id: b", b"a;b", b"a,b"):
            found = self.sent(b"X-Request-Id: %b\r\n" % sent, trusted=True)[b"x-request-id"]
            self.assertEqual((len(found), len(found[0])), (1, 32), sent)

    def test_a_refused_request_has_an_id_in_the_log(self):
        self.connect(
            81, GET.replace(b"GET / ", b"CONNECT a.test:443 ").replace(b"Host: a.test", b"Host: a.test:443")
        )
        self.assertRegex(self.logged()[0]["requestId"], r"\A[0-9a-f]{32}\Z")

    def test_a_repeated_request_keeps_its_id(self):
        self.sent()
        self.answer()
        self.client.write(GET)
        self.network.settle()
        first = [line for line in self.received(0)[1].split(b"\r\n") if line.startswith(b"X-Request-Id")]
        self.backend.connections[0].rst()
        self.network.settle()
        second = [line for line in self.received(1)[0] if line.startswith(b"X-Request-Id")]
        self.assertEqual((first, len(first)), (second, 1))

    # -- the trace

    def test_a_valid_trace_is_passed_on_from_anyone(self):
        for trace in (TRACE, b"01-" + TRACE[3:] + b"-more", b"cc-" + TRACE[3:]):
            found = self.sent(b"Traceparent: %b\r\ntracestate: a=1\r\nTracestate: b=2\r\n" % trace)
            self.assertEqual(found[b"traceparent"], [trace])
            self.assertEqual(found[b"tracestate"], [b"a=1", b"b=2"])

    def test_a_trace_that_is_missing_or_invalid_is_made_anew(self):
        invalid = (
            b"", b"x", b"00", TRACE.upper(), TRACE + b"-more", TRACE + b"-", TRACE + b"0", TRACE[:-1], b"ff" + TRACE[2:],
            b"00-" + b"0" * 32 + TRACE[35:], TRACE[:36] + b"0" * 16 + b"-01", TRACE + b"\r\ntraceparent: " + TRACE, TRACE.replace(b"-", b"_"),
        )  # fmt: skip
        for trace in invalid:
            found = self.sent(b"traceparent: %b\r\ntracestate: a=1\r\n" % trace)
            self.assertEqual(len(found[b"traceparent"]), 1, trace)
            self.assertRegex(found[b"traceparent"][0], NEW_TRACE)
            self.assertNotIn(b"tracestate", found)
        found = self.sent(b"tracestate: a=1\r\n")
        self.assertRegex(found[b"traceparent"][0], NEW_TRACE)
        self.assertNotIn(b"tracestate", found)

    def test_a_new_trace_has_the_id_of_the_request(self):
        found = self.sent()
        self.assertEqual(found[b"traceparent"][0].split(b"-")[1:2], found[b"x-request-id"])
        found = self.sent(b"X-Request-Id: abc\r\n", trusted=True)
        self.assertRegex(found[b"traceparent"][0], NEW_TRACE)

    # -- Via

    def test_via_is_appended_both_ways(self):
        self.assertEqual(self.sent()[b"via"], [b"1.1 smartproxy"])
        found = self.sent(b"Via: 1.1 a, 1.0 b\r\nvia: 1.1 c\r\n", version=b"1.0")
        self.assertEqual(found[b"via"], [b"1.1 a, 1.0 b", b"1.1 c", b"1.0 smartproxy"])
        self.answer(OK.replace(b"1.1", b"1.0").replace(b"\r\n", b"\r\nVia: 1.1 inside\r\n", 1))
        self.assertIn(b"\r\nVia: 1.1 inside\r\nVia: 1.0 smartproxy\r\n", bytes(self.client.received))

    def test_an_answer_without_a_target_has_no_via(self):
        sent: list[bytes] = []
        given = exchange()
        for target in (None, Endpoint("192.0.2.1", 80)):
            given.target = target
            reply = ClientReply(given, sent.append)
            reply.begin(AnswerHead(200, b"OK", (1, 1), Fields()), Framing(Body.LENGTH, 0), persists=True)
            reply.end(b"")
        self.assertEqual([b"Via: 1.1 smartproxy\r\n" in each for each in sent], [False, True])

    def test_a_refusal_has_no_via(self):
        client = self.connect(81, GET)
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertEqual(client.received[9:12], b"502")
        self.assertNotIn(b"Via", client.received)

    def test_a_request_that_circles_is_a_508(self):
        passed = b"Via: " + b", ".join([b"1.1 smartproxy"] * (MOST_PASSED - 1)) + b"\r\n"
        self.sent(passed)
        client = self.connect(81, GET.replace(b"\r\n\r\n", b"\r\n" + passed + b"Via: 1.1 smartproxy\r\n\r\n"))
        self.assertEqual(client.received[9:12], b"508")

    def test_ids_are_sent_where_forwarded_fields_are_not(self):
        found = self.sent(b"X-Forwarded-For: 1.1.1.1\r\n", port=82)
        self.assertLessEqual({b"via", b"x-request-id", b"traceparent"}, found.keys())
        self.assertNotIn(b"x-forwarded-for", found)


class RandomTests(SynchronousTestCase):
    def test_digits_are_not_given_twice(self):
        random = RandomDigits()
        given = [random() for _ in range(1000)] + [random(16) for _ in range(1000)]
        self.assertEqual(len(set(given)), 2000)
        self.assertEqual({len(each) for each in given}, {32, 16})

    def test_a_child_process_has_others(self):
        """After a fork both have the same memory."""
        registered = []
        self.patch(os, "register_at_fork", lambda **calls: registered.append(calls["after_in_child"]))
        random = RandomDigits()
        first = random()
        (in_child,) = registered
        in_child()
        others = {random() for _ in range(100)}
        self.assertNotIn(first, others)
        self.patch(os, "urandom", bytes)  # zeros: none of them is given from before the fork
        in_child()
        self.assertEqual(random(), "0" * 32)
