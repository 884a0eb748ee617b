"""Known ways in which HTTP proxies go wrong: which test is about each, and those that have no better place."""

from __future__ import annotations

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.http.case import GET, OK, POST, SWITCHED, UPGRADE, HttpCase, http_route

_HERE = "test_traps"
_EXPECTING = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

#: What goes wrong, and the tests about it: module, class and method.
TRAPS = {
    "Expect is answered with a final status, and the body may still come": [
        f"{_HERE}.ExpectTests.test_final_answer_in_place_of_100",
    ],
    "Expect is stripped, or the body awaited before the answer": [f"{_HERE}.ExpectTests.test_body_follows_100"],
    "a flood of 103 grows memory": [f"{_HERE}.InformationalTests.test_flood_for_a_client_that_does_not_read"],
    "a second 1xx in one read is taken for the final head": ["test_hostile_answers.HostileAnswerTests.test_sent_whole"],
    "fields of one hop inside a 1xx are passed on": [f"{_HERE}.InformationalTests.test_fields_of_one_hop"],
    "a limit on 1xx that real servers reach": [f"{_HERE}.InformationalTests.test_a_thousand"],
    "an answer ends before its request": [
        "test_forwarding.EndTests.test_an_answer_before_the_end_of_the_request_ends_the_connection",
        "test_idle_connections.PoolTests.test_what_must_not_be_used_again_is_not",
    ],
    "bytes are a tunnel's before the 101": [
        "test_terms.UpgradeTests.test_a_connection_is_a_tunnel_after_101",
        "test_hostile_requests.HostileRequestTests.test_sent_whole",
    ],
    "an upgrade with Content-Length": [f"{_HERE}.TunnelTests.test_upgrade_with_a_body_is_not_passed_on"],
    "a 101 that was not asked for, or to another protocol": [
        "test_terms.UpgradeTests.test_101_to_what_was_not_asked_for_is_a_502"
    ],
    "bytes that were read with the 101 are lost": [
        "test_terms.UpgradeTests.test_a_connection_is_a_tunnel_after_101"
    ],
    "a client leaves a tunnel, and the target stays": [f"{_HERE}.TunnelTests.test_client_leaves"],
    "Content-Length and Transfer-Encoding, another coding, a coding in HTTP/1.0": [
        "test_hostile_requests.HostileRequestTests.test_sent_whole",
        "test_hostile_answers.HostileAnswerTests.test_sent_whole",
    ],
    "more bytes than the answer's length": ["test_hostile_answers.HostileAnswerTests.test_sent_byte_by_byte"],
    "an answer that ends with the connection is taken for reusable": [
        "test_hostile_answers.HostileAnswerTests.test_sent_whole"
    ],
    "the target closes an idle connection as it is used": [
        "test_idle_connections.PoolTests.test_a_connection_closed_as_it_is_used_again_is_replaced",
        f"{_HERE}.RetryTests.test_connection_that_is_lost_before_the_request_is_written",
    ],
    "what must not be repeated is": [
        "test_idle_connections.PoolTests.test_what_may_have_had_an_effect_is_not_repeated",
        f"{_HERE}.RetryTests.test_new_connection_is_not_replaced",
        f"{_HERE}.RetryTests.test_not_behind_a_byte_of_an_answer",
    ],
    "a body that is not held whole is repeated": [f"{_HERE}.RetryTests.test_not_with_a_body"],
    "Connection lists our own fields": [
        "test_terms.ForwardedTests.test_a_client_cannot_remove_them_by_connection"
    ],
    "other spellings of fields that say who the client is": [f"{_HERE}.ForwardedTests.test_aliases"],
    "CONNECT makes requests and answers differ in number": [
        "test_forwarding.EndTests.test_malformed_requests_are_answered_and_reach_no_target"
    ],
    "a cut of the target looks like an end": [
        "test_forwarding.EndTests.test_an_answer_cut_within_its_body_is_a_cut_for_the_client",
        "test_hostile_answers.HostileAnswerTests.test_sent_whole",
    ],
    "HEAD, 204 and 304 with a length": ["test_forwarding.ExchangeTests.test_answers_without_body_keep_the_connection"],
    "a client that leaves is a failure of its target": [
        f"{_HERE}.LeavingTests.test_target_is_not_ejected",
        "test_recording.MetricsTests.test_a_request_under_way_is_active_until_its_client_leaves",
    ],
}  # fmt: skip


class TableTests(SynchronousTestCase):
    def test_every_test_exists(self):
        for names in TRAPS.values():
            self.assertTrue(names)
            for name in names:
                module, case, method = name.split(".")
                self.assertTrue(
                    callable(getattr(getattr(import_module(f"tests.http.{module}"), case), method))
                )


class ExpectTests(HttpCase):
    def test_body_follows_100(self):
        """The target decides: its 100 is the client's, and the body is passed on without being awaited first."""
        client = self.connect(80, _EXPECTING)
        self.assertIn(b"Expect: 100-continue", self.received()[0])
        self.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(client.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        client.write(b"abc")
        self.network.settle()
        self.assertEqual(self.received()[1], b"abc")
        self.answer()
        self.assertTrue(client.received.endswith(OK))
        self.assertFalse(client.ended)

    def test_final_answer_in_place_of_100(self):
        """Whether the body follows is not known, so neither connection carries another request."""
        client = self.connect(80, _EXPECTING)
        self.answer(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"Connection: close", client.received)
        self.assertTrue(client.ended)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)
        client.write(b"abc" + GET)
        self.network.settle()
        self.assertEqual(len(self.backend.connections), 1)

    def test_http_1_0_has_none(self):
        """RFC 9110, 10.1.1: it is ignored. A target would wait, or refuse, on behalf of a client that does not know of it."""
        for value in (b"100-continue", b"other"):
            old = _EXPECTING.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"100-continue", value)
            client = self.connect(80, old + b"abc")
            head, body = self.received()
            self.assertFalse([line for line in head if line.startswith(b"Expect")])
            self.assertEqual((body, client.received), (b"abc", b""))

    def test_body_that_comes_without_100(self):
        client = self.connect(80, _EXPECTING + b"abc")
        self.assertEqual(self.received()[1], b"abc")
        self.answer()
        self.assertEqual(client.received, OK)


class InformationalTests(HttpCase):
    def test_a_thousand(self):
        client = self.connect(80, GET)
        self.answer(_HINTS * 1000 + OK)
        self.assertEqual(client.received, _HINTS * 1000 + OK)

    def test_fields_of_one_hop(self):
        client = self.connect(80, GET)
        self.answer(
            b"HTTP/1.1 103 x\r\nConnection: close, X-A\r\nX-A: 1\r\nKeep-Alive: 5\r\nLink: </a>\r\n\r\n"
        )
        self.assertEqual(client.received, b"HTTP/1.1 103 x\r\nLink: </a>\r\n\r\n")

    def test_flood_for_a_client_that_does_not_read(self):
        """The target is paused."""
        client = self.connect(80, GET)
        client.reading = False
        target = self.backend.connections[-1]
        for _ in range(400):
            target.write(_HINTS * 100)
            self.network.settle()
        self.assertGreater(target.waiting, 1_000_000)

    def test_not_for_a_client_of_http_1_0(self):
        client = self.connect(80, GET.replace(b"1.1", b"1.0"))
        self.answer(_HINTS + OK)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 200 OK\r\n"))


class TunnelTests(HttpCase):
    def test_upgrade_with_a_body_is_not_passed_on(self):
        request = UPGRADE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc")
        client = self.connect()
        self.assertEqual(self.exchange(client, request), OK)
        self.assertNotIn(b"pgrade", self.backend.connections[-1].received)
        self.assertEqual(self.exchange(client), OK)

    def test_client_leaves(self):
        for end in ("rst", "fin"):
            client = self.connect(80, UPGRADE)
            self.answer(SWITCHED)
            target = self.backend.connections[-1]
            getattr(client, end)()
            self.network.settle()
            self.assertTrue(target.gone or target.ended, end)
            self.network.run(61)  # halfCloseTimeout
            self.assertTrue(target.gone, end)
        self.assertEqual(self.proxy.registry.active, 0)

    def test_target_leaves(self):
        for end in ("rst", "fin"):
            client = self.connect(80, UPGRADE)
            self.answer(SWITCHED)
            getattr(self.backend.connections[-1], end)()
            self.network.settle()
            self.assertTrue(client.ended or client.was_reset, end)
            self.network.run(61)  # halfCloseTimeout
            self.assertEqual(self.proxy.registry.active, 0, end)

    def test_tunnel_outlives_a_reload(self):
        client = self.connect(80, UPGRADE)
        self.answer(SWITCHED)
        self.update(http_route(), http_route("other", 81))
        client.write(b"more")
        self.network.settle()
        self.assertTrue(self.backend.connections[-1].received.endswith(b"more"))

    def test_request_without_key_or_version_is_the_targets_to_judge(self):
        client = self.connect(
            80, UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websocket\r\nSec-WebSocket-Version: 7")
        )
        self.answer(
            b"HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertTrue(client.received.startswith(b"HTTP/1.1 426 "))
        self.assertEqual(self.exchange(client), OK)


class RetryTests(HttpCase):
    def fails(self, request, *, before=b""):
        """What a client gets whose request goes to a used connection that is reset behind ``before``."""
        client = self.connect()
        self.exchange(client)
        client.write(request)
        self.network.settle()
        if before:
            self.answer(before)
        count = len(self.backend.connections)
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertEqual(len(self.backend.connections), count)
        return bytes(client.received[len(OK) :])

    def test_not_with_a_body(self):
        """It is not held: it was sent on as it came."""
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        self.assertEqual(self.fails(put)[9:12], b"502")

    def test_not_behind_a_byte_of_an_answer(self):
        for begun in (b"H", b"HTTP/1.1 200 OK\r\n", _HINTS):
            self.assertIn(b" 502 ", self.fails(GET, before=begun))

    def test_new_connection_is_not_replaced(self):
        client = self.connect(80, GET)
        self.backend.connections[-1].rst()
        self.network.settle()
        self.assertEqual(client.received[9:12], b"502")
        self.assertEqual(len(self.backend.connections), 1)

    def test_only_once(self):
        client = self.connect()
        self.exchange(client)
        client.write(GET)
        self.network.settle()
        for _ in range(2):
            self.backend.connections[-1].rst()
            self.network.settle()
        self.assertEqual(client.received[len(OK) + 9 :][:3], b"502")
        self.assertEqual(len(self.backend.connections), 2)

    def test_connection_that_is_lost_before_the_request_is_written(self):
        for end in ("fin", "rst", "close"):
            client = self.connect()
            self.exchange(client)
            getattr(self.backend.connections[-1], end)()
            client.write(GET)
            self.network.settle()
            self.answer()
            self.assertEqual(client.received, OK + OK)


class ForwardedTests(HttpCase):
    def test_aliases(self):
        """Servers that make variables of fields cannot tell them apart, and some believe forgotten ones."""
        names = [
            b"X_Forwarded_For", b"X-Forwarded_For", b"X.Forwarded.For", b"x-forwarded-prefix", b"X_Forwarded_Prefix",
            b"X_Real_IP", b"X.Real.IP", b"X-Forwarded-Server", b"X_Forwarded_Proto", b"x.forwarded.host", b"FORWARDED",
            b"X-Forwarded-Ssl", b"X-Forwarded-User", b"X_Forwarded_Scheme", b"x.forwarded-client-cert", b"X-Forwarded-2", b"X-Forwarded-",
        ]  # fmt: skip
        sent = b"".join(name + b": evil\r\n" for name in names)
        self.connect(80, GET.replace(b"\r\n\r\n", b"\r\n" + sent + b"\r\n"))
        self.assertNotIn(b"evil", b"".join(self.received()[0]))
        for name in names:  # a head is looked at more closely where it has any of some names
            self.connect(80, GET.replace(b"\r\n\r\n", b"\r\n" + name + b": evil\r\n\r\n"))
            self.assertNotIn(b"evil", b"".join(self.received()[0]), name)

    def test_aliases_in_trailers(self):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 1\r\nX-Forwarded-Ssl: evil\r\nX_Forwarded_2: evil\r\n\r\n"
        self.connect(80, POST + chunked)
        self.assertEqual(self.received()[1], b"0\r\nX-Sum: 1\r\n\r\n")


class LeavingTests(HttpCase):
    def test_target_is_not_ejected(self):
        """Passive health ejects a target at its first failure."""
        self.start(http_route("one", 81, action={"passive_health": {"failures": 1}}))
        for said in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"):
            client = self.connect(81, GET)
            self.answer(said) if said else None
            client.rst()
            self.network.settle()
            self.assertTrue(self.backend.connections[-1].was_reset)
        self.assertEqual([str(each.state) for each in self.proxy.groups.targets()][-1:], ["up"])
        self.assertEqual(self.exchange(self.connect(81)), OK)


class SlowTests(HttpCase):
    def test_head_that_comes_byte_by_byte(self):
        """Its deadline is that of the whole head, which a byte does not extend."""
        self.start(http_route("slow", 81, http={"request_timeout": "30s"}), initial_data_timeout="30s")
        first, later = self.connect(81), self.connect(81)
        self.exchange(later)
        for client in (first, later):
            before = len(client.received)
            for byte in GET[:8]:
                client.write(bytes([byte]))
                self.network.run(5)
            self.assertTrue(client.ended or client.gone)
            self.assertIn(client.received[before:][9:12], (b"408", b""))

    def test_answer_that_is_not_read(self):
        """The target is paused, so that memory is bounded, and both are closed when nothing has moved for long."""
        self.start(http_route("slow", 81), inactivity_timeout="60s")
        client = self.connect(81, GET)
        client.reading = False
        target = self.backend.connections[-1]
        target.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(10_000_000))
        self.network.settle()
        self.assertGreater(target.waiting, 9_000_000)
        self.network.run(59)
        self.assertFalse(target.gone)
        self.network.run(62)
        self.assertTrue(target.gone)
        self.assertTrue(client.was_reset)
        self.assertEqual(self.proxy.registry.active, 0)

    def test_answer_that_is_read_slowly(self):
        self.start(http_route("slow", 81), inactivity_timeout="60s")
        client = self.connect(81, GET)
        target = self.backend.connections[-1]
        target.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            self.network.run(50)
            target.write(b"a")
            self.network.settle()
        self.assertTrue(client.received.endswith(b"a" * 10))
        self.assertFalse(client.ended)


class PipelineTests(HttpCase):
    def test_requests_before_a_fin_are_all_answered(self):
        """Such as those of ``printf ... | nc -N``."""
        client = self.connect(80, GET * 3)
        client.fin()
        for _ in range(3):
            self.assertFalse(client.ended)
            self.answer(OK)
        self.assertEqual(client.received.count(b"200 OK"), 3)
        self.assertTrue(client.ended)
        self.assertIn(b"Connection: close", client.received[-90:])

    def test_a_part_of_a_request_before_a_fin_is_dropped(self):
        for part in (b"GET / HTTP/1.1\r\nHo", POST + b"Content-Length: 9\r\n\r\nabc"):
            client = self.connect(80, GET + part)
            client.fin()
            self.network.settle()
            self.answer(OK)
            self.network.run(3)
            self.assertEqual(client.received.count(b"HTTP/1.1 "), 1, part)
            self.assertTrue(client.ended or client.was_reset, part)

    def test_a_thousand_requests_at_a_slow_target(self):
        """They are answered in order; reading pauses, so that what is held is bounded."""
        client = self.network.connect(80)
        requests = [GET.replace(b"/ ", b"/%04d%b " % (n, b"x" * 500)) for n in range(1000)]
        client.write(b"".join(requests))
        self.network.settle()
        self.assertGreater(client.waiting, 100_000)
        for number in range(1000):
            target = self.backend.connections[-1]
            self.assertEqual(target.received.count(b"HTTP/1.1"), number + 1)
            self.assertIn(b"/%04dx" % number, target.received[-900:])
            target.write(OK.replace(b"ok", b"%02d" % (number % 100)))
            self.network.settle()
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 1000)
        self.assertEqual(client.received[-2:], b"99")
        self.assertEqual(len(self.backend.connections), 1)
