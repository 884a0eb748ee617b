"""Requests of a client and answers of a target, whole, over a network in memory."""

from __future__ import annotations

from smartproxy import Route
from tests.on_network import HOST, NetworkTestCase

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def http_route(name="web", ports=80, *, http=None, **match):
    action = {"targets": [{"host": HOST, "port": 9000}], "protocol": "http", "http": http or {}}
    return Route(name=name, match={"ports": ports, **match}, action=action)


class HttpCase(NetworkTestCase):
    def setUp(self):
        super().setUp()
        self.start(http_route())

    def answer(self, data=OK, number=-1):
        """The target sends ``data`` on its connection of this number."""
        self.backend.connections[number].write(data)
        self.network.settle()

    def received(self, number=-1):
        """What the target was sent: the head's lines, and what follows."""
        head, _, body = bytes(self.backend.connections[number].received).partition(b"\r\n\r\n")
        return head.split(b"\r\n"), body

    def exchange(self, client, request=GET, answer=OK):
        """What the client gets for a request."""
        before = len(client.received)
        client.write(request)
        self.network.settle()
        self.answer(answer)
        return bytes(client.received[before:])


class ExchangeTests(HttpCase):
    def test_requests_follow_each_other_on_one_connection(self):
        client = self.connect()
        for _ in range(3):
            self.assertEqual(self.exchange(client), OK)
        self.assertFalse(client.ended)
        self.assertEqual(len(self.backend.connections), 1)

    def test_a_target_gets_the_request_written_anew(self):
        self.connect(
            80, b"GET /a?b HTTP/1.1\r\nhost:  a.test \r\nX-A: 1\r\nConnection: x-b, close\r\nX-B: 2\r\n\r\n"
        )
        lines, body = self.received()
        self.assertEqual(lines[0], b"GET /a?b HTTP/1.1")
        self.assertIn(b"X-A: 1", lines)
        self.assertNotIn(b"X-B: 2", lines)
        self.assertEqual([line for line in lines if line.lower().startswith(b"connection")], [])
        self.assertEqual(body, b"")

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.connect(80, GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
        self.assertEqual(len(self.backend.connections), 1)
        self.answer(OK.replace(b"ok", b"a1"))
        self.assertTrue(
            self.backend.connections[-1].received.partition(b"\r\n\r\n")[2].startswith(b"GET /2 HTTP/1.1")
        )
        self.answer(OK.replace(b"ok", b"a2"))
        self.assertEqual(client.received, OK.replace(b"ok", b"a1") + OK.replace(b"ok", b"a2"))

    def test_bodies_pass_both_ways_in_either_framing(self):
        chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        for body in (b"Content-Length: 3\r\n\r\nabc", chunked):
            client = self.connect()
            got = self.exchange(
                client, b"POST / HTTP/1.1\r\nHost: a\r\n" + body, b"HTTP/1.1 200 OK\r\n" + body
            )
            self.assertEqual(got, b"HTTP/1.1 200 OK\r\n" + body)
            self.assertTrue(
                bytes(self.backend.connections[-1].received).endswith(body.partition(b"\r\n\r\n")[2])
            )

    def test_a_body_that_ends_with_the_connection_is_chunked_for_the_client(self):
        client = self.connect(80, GET)
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
        self.backend.connections[-1].fin()
        self.network.settle()
        self.assertEqual(
            client.received, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        )

    def test_answers_without_body_keep_the_connection(self):
        head = GET.replace(b"GET", b"HEAD")
        for request, answer in [
            (head, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
            (GET, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
        ]:
            client = self.connect()
            self.assertEqual(self.exchange(client, request, answer), answer)
            self.assertEqual(self.exchange(client), OK)

    def test_informational_answers_precede_the_final_one(self):
        client = self.connect(80, GET)
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        self.answer(early + OK)
        self.assertEqual(client.received, early + OK)

    def test_http_1_0_is_answered_and_closed_unless_it_asks_to_persist(self):
        client = self.connect(80, b"GET / HTTP/1.0\r\n\r\n")
        self.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        self.assertEqual(client.received, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
        self.assertTrue(client.ended)
        client = self.connect()
        got = self.exchange(client, b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
        self.assertIn(b"Connection: keep-alive", got)
        self.assertFalse(client.ended)

    def test_the_length_of_an_answer_to_head_is_not_made_up(self):
        head = GET.replace(b"GET", b"HEAD")
        got = self.exchange(self.connect(), head, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(got, b"HTTP/1.1 200 OK\r\n\r\n")

    def test_trailers_pass_but_for_those_that_frame_or_route(self):
        body = b"3\r\nabc\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 9\r\nX-Forwarded-For: 1\r\n\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n\r\n"
        got = self.exchange(
            self.connect(),
            b"POST / HTTP/1.1\r\nHost: a\r\n" + chunked + body,
            b"HTTP/1.1 200 OK\r\n" + chunked + body,
        )
        for passed in (got, bytes(self.backend.connections[-1].received)):
            self.assertTrue(passed.endswith(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"), passed)

    def test_a_connection_ends_with_the_exchange_after_its_lifetime(self):
        self.start(http_route("short", 81), max_connection_lifetime="30s")
        client = self.connect(81)
        self.assertNotIn(b"close", self.exchange(client))
        self.network.run(31)
        self.assertIn(b"Connection: close", self.exchange(client))
        self.assertTrue(client.ended)


class EndTests(HttpCase):
    def test_malformed_requests_are_answered_and_reach_no_target(self):
        for request, status in [
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"501"),
            (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 101, b"431"),
            (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", b"405"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", b"417"),
        ]:
            client = self.connect(80, request)
            self.assertEqual(client.received[9:12], status, request[:60])
            self.assertTrue(client.ended)
        self.assertEqual(self.backend.connections, [])

    def test_a_target_that_cannot_be_reached_is_a_502(self):
        self.start(
            Route(
                name="x",
                match={"ports": 81},
                action={"targets": [{"host": "10.9.9.9", "port": 1}], "protocol": "http"},
            )
        )
        client = self.connect(81, GET)
        self.assertEqual(client.received[9:12], b"502")

    def test_an_answer_cut_within_its_body_is_a_cut_for_the_client(self):
        client = self.connect(80, GET)
        self.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        self.backend.connections[-1].fin()
        self.network.settle()
        self.assertTrue(client.was_reset)

    def test_an_answer_that_is_not_http_is_a_502(self):
        for answer in (
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        ):
            client = self.connect(80, GET)
            self.answer(answer)
            self.assertEqual(client.received[9:12], b"502")

    def test_an_answer_before_the_end_of_the_request_ends_the_connection(self):
        client = self.connect(80, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        self.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"Connection: close", client.received)
        self.assertTrue(client.ended)

    def test_a_client_that_resets_ends_the_exchange_with_the_target(self):
        client = self.connect(80, GET)
        client.rst()
        self.network.settle()
        self.assertTrue(self.backend.connections[-1].was_reset)
        self.assertEqual(self.proxy.registry.active, 0)

    def test_a_client_that_has_ended_its_direction_is_answered(self):
        client = self.connect(80, GET)
        client.fin()
        self.network.settle()
        self.answer()
        self.assertIn(b"ok", client.received)

    def test_bytes_are_counted_as_the_client_sees_them(self):
        client = self.connect()
        got = self.exchange(client)
        client.fin()
        self.network.run(3)
        totals = self.proxy.metrics.totals()
        self.assertEqual((totals.bytes_received, totals.bytes_sent), (len(GET), len(got)))


class PoolTests(HttpCase):
    def target(self, number=-1):
        return self.backend.connections[number]

    def test_connections_are_shared_by_clients(self):
        for _ in range(3):
            self.exchange(self.connect())
        self.assertEqual(len(self.backend.connections), 1)

    def test_the_one_used_last_is_used_first(self):
        one, _ = self.connect(80, GET), self.connect(80, GET)
        self.answer(number=0)
        self.answer(number=1)
        self.exchange(one)
        self.assertEqual(self.target(0).received.count(b"GET"), 1)
        self.assertEqual(self.target(1).received.count(b"GET"), 2)

    def test_idle_ones_are_closed_after_a_while_and_when_the_target_closes(self):
        self.exchange(self.connect())
        self.network.run(61)
        self.assertTrue(self.target().ended)
        self.exchange(self.connect())
        self.target().fin()
        self.network.settle()
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)

    def test_what_must_not_be_used_again_is_not(self):
        for request, answer in [
            (GET, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (GET, OK + b"more than was asked for"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", OK),
        ]:
            self.exchange(self.connect(), request, answer)
            self.assertEqual(len(self.proxy._runtime.targets.pool), 0, answer)

    def test_bytes_on_an_idle_connection_close_it(self):
        self.exchange(self.connect())
        self.answer(OK)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)

    def test_a_target_with_a_proxy_header_gets_a_connection_for_each_request(self):
        targets = [{"host": HOST, "port": 9000, "send_proxy_protocol": 1}]
        self.start(Route(name="h", match={"ports": 81}, action={"targets": targets, "protocol": "http"}))
        client = self.connect(81)
        for _ in range(2):
            self.exchange(client)
        self.assertEqual(len(self.backend.connections), 2)

    def test_a_connection_closed_as_it_is_used_again_is_replaced(self):
        for end in ("fin", "rst"):
            client = self.connect()
            self.exchange(client)
            client.write(GET)
            self.network.settle()
            getattr(self.target(), end)()
            self.network.settle()
            self.answer(OK)
            self.assertEqual(client.received, OK + OK)

    def test_what_may_have_had_an_effect_is_not_repeated(self):
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        client = self.connect()
        self.exchange(client)
        client.write(post)
        self.network.settle()
        self.target().rst()
        self.network.settle()
        self.assertEqual(client.received[len(OK) + 9 :][:3], b"502")

    def test_a_target_counts_requests_under_way_only(self):
        client = self.connect(80, GET)
        (target,) = self.proxy.groups.targets()
        self.assertEqual(target.connections, 1)
        self.answer()
        (target,) = self.proxy.groups.targets()
        self.assertEqual(target.connections, 0)
        self.assertEqual((target.received, target.sent), (len(GET), len(OK)))
        self.assertFalse(client.ended)


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class UpgradeTests(HttpCase):
    def test_a_connection_is_a_tunnel_after_101(self):
        """Bytes that come right behind the heads are those of the tunnel."""
        client = self.connect(80, UPGRADE + b"early")
        self.assertTrue(self.backend.connections[-1].received.endswith(b"\r\n\r\n"))
        self.answer(SWITCHED + b"first")
        self.assertEqual(client.received, SWITCHED + b"first")
        self.assertTrue(self.backend.connections[-1].received.endswith(b"\r\n\r\nearly"))
        client.write(b"more")
        self.network.settle()
        self.assertTrue(self.backend.connections[-1].received.endswith(b"earlymore"))
        self.backend.connections[-1].fin()
        client.fin()
        self.network.run(1)
        self.assertEqual(self.proxy.registry.active, 0)
        self.assertEqual(self.proxy.metrics.totals()[:2], (len(UPGRADE) + 9, len(SWITCHED) + 5))

    def test_an_upgrade_that_is_refused_stays_http(self):
        client = self.connect()
        self.assertEqual(self.exchange(client, UPGRADE), OK)
        self.assertEqual(self.exchange(client), OK)

    def test_101_to_what_was_not_asked_for_is_a_502(self):
        for request, answer in [
            (GET, SWITCHED),
            (UPGRADE, SWITCHED.replace(b"websocket", b"other")),
            (
                UPGRADE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\na"),
                SWITCHED,
            ),
        ]:
            self.assertEqual(self.exchange(self.connect(), request, answer)[9:12], b"502", request)

    def test_http_2_by_upgrade_is_not_passed_on(self):
        self.connect(80, UPGRADE.replace(b"websocket", b"h2c"))
        self.assertNotIn(b"pgrade", self.backend.connections[-1].received)


class TermsTests(HttpCase):
    def terms(self, **http):
        self.start(http_route("terms", 81, http=http))

    def status(self, request):
        return bytes(self.connect(81, request).received[9:12])

    def test_a_body_over_the_limit_is_a_413_in_either_framing(self):
        self.terms(max_body_size=3)
        post = b"POST / HTTP/1.1\r\nHost: a\r\n"
        self.assertEqual(self.status(post + b"Content-Length: 4\r\n\r\n"), b"413")
        self.assertEqual(self.backend.connections, [])
        self.assertEqual(self.status(post + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"), b"413")
        self.assertEqual(self.status(post + b"Content-Length: 3\r\n\r\nabc"), b"")

    def test_times_are_those_of_the_route(self):
        self.terms(request_timeout="5s", keep_alive_timeout="10s", response_timeout="20s")
        begun, silent = self.connect(81, b"GET / HT"), self.connect(81, GET)
        idle = self.connect(81)
        self.exchange(idle, GET)
        cut = self.connect(81, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        self.network.run(6)
        self.assertEqual(begun.received[9:12], b"408")
        self.assertEqual(cut.received[9:12], b"408")
        self.assertFalse(idle.ended)
        self.network.run(5)
        self.assertTrue(idle.ended)
        self.assertEqual(silent.received, b"")
        self.network.run(11)
        self.assertEqual(silent.received[9:12], b"504")

    def test_a_websocket_of_another_origin_is_refused(self):
        self.terms(websocket={"origins": ["https://a.test"]})
        for origin, status in [(b"https://A.test", b""), (b"https://b.test", b"403"), (b"null", b"403")]:
            self.assertEqual(
                self.status(UPGRADE.replace(b"Host", b"Origin: " + origin + b"\r\nHost")), status
            )
        self.assertEqual(self.status(UPGRADE), b"403")
        self.assertEqual(self.status(GET), b"")

    def test_a_tunnel_has_an_idle_timeout_of_its_own(self):
        self.terms(websocket={"idle_timeout": "30s"})
        client = self.connect(81, UPGRADE)
        self.answer(SWITCHED)
        self.network.run(29)
        self.assertFalse(client.was_reset)
        self.network.run(2)
        self.assertTrue(client.was_reset)

    def test_pool_and_retries_can_be_changed(self):
        self.terms(retries=0, pool={"max_idle": 1, "idle_timeout": "5s"})
        one, other = self.connect(81, GET), self.connect(81, GET)
        self.answer(number=0)
        self.answer(number=1)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 1)
        one.write(GET)
        self.network.settle()
        self.backend.connections[1].rst()
        self.network.settle()
        self.assertEqual(one.received[len(OK) + 9 :][:3], b"502")
        self.exchange(other)
        self.network.run(6)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)


class ForwardedTests(HttpCase):
    SENT = b"X-Forwarded-For: 9.9.9.9\r\nX_Forwarded_For: 9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\n"

    def fields(self, **more):
        """What the target gets of these fields, by name."""
        self.connect(81, GET.replace(b"\r\n\r\n", b"\r\n" + self.SENT + b"\r\n"), **more)
        lines, _ = self.received()
        pairs = [line.split(b": ", 1) for line in lines[1:]]
        names = [name.lower() for name, _ in pairs]
        self.assertEqual(len(set(names)), len(names))
        return {
            name: value for name, value in pairs if b"orwarded" in name.replace(b"_", b"-") or b"Real" in name
        }

    def test_what_a_stranger_has_sent_is_replaced(self):
        self.start(http_route("f", 81))
        self.assertEqual(
            self.fields(client=("192.0.2.7", 4000)),
            {
                b"X-Forwarded-For": b"192.0.2.7", b"X-Forwarded-Proto": b"http", b"X-Forwarded-Host": b"a.test",
                b"X-Forwarded-Port": b"81", b"X-Real-IP": b"192.0.2.7",
                b"Forwarded": b'for=192.0.2.7;proto=http;host="a.test"',
            },
        )  # fmt: skip

    def test_lists_of_a_trusted_proxy_are_appended_to(self):
        self.start(http_route("f", 81), proxy_ips=["192.0.2.0/24"], accept_proxy_protocol=False)
        fields = self.fields(client=("192.0.2.7", 4000))
        self.assertEqual(fields[b"X-Forwarded-For"], b"9.9.9.9, 192.0.2.7")
        self.assertEqual(fields[b"Forwarded"], b'for=9.9.9.9, for=192.0.2.7;proto=http;host="a.test"')
        self.assertEqual((fields[b"X-Real-IP"], fields[b"X-Forwarded-Proto"]), (b"9.9.9.9", b"https"))

    def test_they_are_left_out_where_they_are_turned_off(self):
        """What a client sends is not passed on even then: the target may take it for ours."""
        route = http_route("f", 81)
        self.start(
            route.model_copy(update={"action": route.action.model_copy(update={"forwarded_headers": False})})
        )
        self.assertEqual(self.fields(), {})

    def test_a_client_cannot_remove_them_by_connection(self):
        self.connect(
            80, GET.replace(b"\r\n\r\n", b"\r\nConnection: X-Forwarded-For, Host, X-Real-IP\r\n\r\n")
        )
        names = {line.partition(b":")[0] for line in self.received()[0][1:]}
        self.assertLessEqual({b"X-Forwarded-For", b"Host", b"X-Real-IP"}, names)


class DrainTests(HttpCase):
    def test_idle_connections_end_at_once_and_others_with_their_answer(self):
        idle, busy = self.connect(), self.connect(80, GET)
        self.answer()
        self.exchange(idle)
        busy.write(GET)
        self.network.settle()
        before = len(busy.received)
        self.proxy.drain()
        self.network.settle()
        self.assertTrue(idle.ended)
        self.assertFalse(busy.ended)
        self.answer()
        self.assertIn(b"Connection: close", bytes(busy.received[before:]))
        self.assertTrue(busy.ended)

    def test_the_first_request_of_a_connection_is_refused(self):
        """The client may send it elsewhere."""
        client = self.connect()
        self.proxy.drain()
        client.write(GET)
        self.network.settle()
        self.assertTrue(client.received.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"Connection: close", client.received)
        self.assertEqual(self.backend.connections, [])
