"""The answers that the proxy makes itself: their status, what they say, and whether the connection goes on."""

from __future__ import annotations

from pathlib import Path

from smartproxy import Route
from tests.http.case import GET, OK, POST, AnswerCase, http_route, parts

HEAD = GET.replace(b"GET", b"HEAD")
#: Request, status, and the text of the answer: heads that are not read whole, or whose end is not known.
UNREAD = [
    (b"GET / HTTP/1.1\r\n\r\n", 400, "not exactly one Host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "not exactly one Host"),
    (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "not a header field"),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "CR or LF alone"),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not a request line"),
    (POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400, "more than one Content-Length"),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "Content-Length beside Transfer-Encoding"),
    (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "a transfer coding other than chunked"),
    (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", 505, "neither HTTP/1.0 nor HTTP/1.1"),
    (b"GET /" + b"a" * 66_000, 414, "request line too long"),
    (GET[:-2] + b"X: " + b"a" * 66_000, 431, "request head too large"),
    (GET[:-2] + b"X: a\r\n" * 100 + b"\r\n", 431, "too many header fields"),
    (b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n", 405, "Method Not Allowed"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nrubbish\r\n", 400, "Bad Request"),
]  # fmt: skip


class UnreadTests(AnswerCase):
    """Requests whose end is not known: what follows is not taken for a request."""

    def test_each_is_answered_with_its_status_and_closed(self):
        for request, status, text in UNREAD:
            found, fields, body, client = self.ask(request + GET)
            self.assertEqual((found, body.decode()), (status, f"{text}\n"), request[:60])
            self.assertEqual(fields["Connection"], "close")
            self.assertEqual(int(fields["Content-Length"]), len(body))
            self.assertTrue(client.ended)
        sent = [bytes(connection.received) for connection in self.backend.connections]
        self.assertEqual([data for data in sent if b"GET" in data], [])

    def test_each_is_counted_and_logged(self):
        self.log_to(http_route())
        for request, _, _ in UNREAD[:3]:
            self.ask(request)
        self.ask(UNREAD[9][0])
        self.assertEqual(
            sorted(self.page()),
            [
                'smartproxy_http_requests_total{code="400",method="GET",route=""} 3',
                'smartproxy_http_requests_total{code="414",method="GET",route=""} 1',
            ],
        )
        lines = self.lines()
        self.assertEqual(
            [(line["status"], line["method"], line["detail"]) for line in lines],
            [(status, "GET", text) for _, status, text in (*UNREAD[:3], UNREAD[9])],
        )
        self.assertEqual([line["route"] for line in lines], [None] * 4)
        self.assertEqual((lines[0]["path"], lines[0]["requestBytes"]), ("/", len(UNREAD[0][0])))
        self.assertGreater(lines[0]["responseBytes"], 100)

    def test_rubbish_is_counted_as_other_and_logged_without_a_method(self):
        self.log_to(http_route())
        self.ask(b"\x16\x03\x01rubbish")
        self.assertEqual(
            self.page(), ['smartproxy_http_requests_total{code="400",method="other",route=""} 1']
        )
        self.assertEqual([line["method"] for line in self.lines()], [None])

    def test_a_malformed_head_behind_a_good_request_has_its_own_line(self):
        self.log_to(http_route())
        client = self.connect()
        self.exchange(client)
        client.write(UNREAD[0][0])
        self.network.settle()
        self.assertEqual([line["status"] for line in self.lines()], [200, 400])

    def test_a_head_that_does_not_come_in_time_is_a_408(self):
        self.log_to(http_route(http={"request_timeout": "5s"}))
        client = self.connect(80, b"GET /slow HT")
        self.network.run(6)
        self.assertEqual(parts(client.received)[0], 408)
        self.assertEqual(self.page(), ['smartproxy_http_requests_total{code="408",method="GET",route=""} 1'])
        (line,) = self.lines()
        self.assertEqual((line["status"], line["path"]), (408, "/slow"))
        self.assertIn("http.requestTimeout", line["detail"])
        self.assertNotIn(b"requestTimeout", client.received)


class FirstRequestTests(AnswerCase):
    """Where names or paths choose the route, the first head is read before: what it is refused with is the same."""

    def setUp(self):
        super().setUp()
        self.log_to(http_route("named", 81, domains=["a.test"]))

    def test_malformed_heads_are_answered_and_counted_as_later_ones_are(self):
        for request, status, text in UNREAD[:4] + UNREAD[8:12]:
            found, fields, body, client = self.ask(request, 81)
            self.assertEqual((found, body.decode()), (status, f"{text}\n"), request[:60])
            self.assertEqual(fields["Connection"], "close")
            self.assertTrue(client.ended)
        counted = [line for line in self.page() if 'code="400"' in line]
        self.assertEqual(counted, ['smartproxy_http_requests_total{code="400",method="GET",route=""} 4'])
        self.assertTrue(
            all("answered 4" in line["detail"] or "answered 5" in line["detail"] for line in self.lines())
        )

    def test_answers_to_head_have_no_body(self):
        self.network.stop(self.proxy)
        no = Route(name="no", match={"ports": 80, "path": "/no"}, action={"type": "block"})
        self.start(http_route(path="/web"), no)
        for request in (
            b"HEAD /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
        ):
            _, _, body = self.connect(said=request).received.partition(b"\r\n\r\n")
            self.assertEqual(body, b"")

    def test_no_route_is_a_404_that_is_json_for_who_asks_for_it(self):
        request = GET.replace(b"a.test", b"b.test")
        self.assertEqual(self.ask(request, 81)[:3:2], (404, b"Not Found\n"))
        asking = request[:-2] + b"Accept: application/json\r\n\r\n"
        self.assertEqual(self.ask(asking, 81)[:3:2], (404, b'{"error": "Not Found"}\n'))
        self.assertEqual(self.ask(request.replace(b"GET", b"HEAD"), 81)[:3:2], (404, b""))
        self.assertEqual(
            self.page(),
            [
                'smartproxy_http_requests_total{code="404",method="GET",route=""} 2',
                'smartproxy_http_requests_total{code="404",method="HEAD",route=""} 1',
            ],
        )

    def test_a_route_that_does_not_admit_the_client_answers_before_a_request(self):
        """It speaks HTTP, whatever the client sends: the first bytes need not be waited for."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "no.html").write_text("No.")
        blocked = {"security": {"ip_block_list": ["192.0.2.0/24"]}}
        for number, (security, pages, status, body) in enumerate(
            [
                (blocked, {}, 403, b"Forbidden\n"),
                (blocked, {403: str(folder / "no.html")}, 403, b"No."),
                ({"security": {"max_connections": 1}}, {}, 503, b"Service Unavailable\n"),
            ]
        ):
            port = 90 + number
            action = {
                "targets": [{"host": "10.0.0.5", "port": 9000}],
                "protocol": "http",
                "error_pages": pages,
            }
            self.start(Route(name="x", match={"ports": port}, action=action, **security))
            self.connect(port)
            client = self.connect(port)
            self.assertEqual(parts(client.received)[::2], (status, body))
            self.assertTrue(client.ended)

    def test_without_a_route_that_speaks_http_no_request_is_counted(self):
        self.start(
            Route(
                name="x",
                match={"ports": 82, "domains": ["a.test"]},
                action={"targets": [{"host": "10.0.0.5", "port": 1}]},
            )
        )
        self.assertEqual(self.ask(GET.replace(b"a.test", b"b.test"), 82)[0], 404)
        self.assertEqual(self.page(), [])


class ReadTests(AnswerCase):
    """Requests that were read whole: the connection goes on, as with haproxy and nginx."""

    def assert_refused(self, client, status, request=GET, before=0):
        found, fields, body = parts(client.received[before:])
        self.assertEqual(found, status)
        self.assertNotIn("Connection", fields)
        self.assertEqual(int(fields["Content-Length"]), len(body))
        self.assertFalse(client.ended)
        before = len(client.received)
        client.write(request)
        self.network.settle()
        self.assertEqual(parts(client.received[before:])[0], status)

    def test_a_request_without_a_route_is_a_404(self):
        self.start(http_route("path", 81, path="/here"), http_route("other", 81, path="/there"))
        client = self.connect(81, GET.replace(b"/ ", b"/here "))
        self.answer()
        before = len(client.received)
        client.write(GET)
        self.network.settle()
        self.assert_refused(client, 404, before=before)

    def test_a_route_whose_lists_do_not_admit_the_client_is_a_403(self):
        lists = {"security": {"ip_block_list": ["192.0.2.0/24"]}}
        denied = http_route("denied", 81, path="/denied").model_copy(update={})
        denied = Route(**{**denied.model_dump(exclude_unset=True), **lists})
        self.start(http_route("open", 81, path="/"), denied)
        client = self.connect(81, GET)
        self.answer()
        before, request = len(client.received), GET.replace(b"/ ", b"/denied ")
        client.write(request)
        self.network.settle()
        self.assert_refused(client, 403, request, before)

    def test_a_target_that_cannot_be_reached_is_a_502(self):
        targets = [{"host": "10.9.9.9", "port": 1}]
        self.start(Route(name="x", match={"ports": 81}, action={"targets": targets, "protocol": "http"}))
        client = self.connect(81, GET)
        self.assert_refused(client, 502)
        for hidden in (b"10.9.9.9", b"refused", b"rror:"):
            self.assertNotIn(hidden, client.received)

    def test_a_target_whose_answer_is_not_http_is_a_502(self):
        client = self.connect(80, GET)
        self.answer(b"SSH-2.0-x\r\n")
        self.assertEqual(parts(client.received)[::2], (502, b"Bad Gateway\n"))
        before = len(client.received)
        client.write(GET)
        self.network.settle()
        self.answer()
        self.assertEqual(client.received[before:], OK)

    def test_a_target_that_does_not_answer_in_time_is_a_504(self):
        self.start(http_route("slow", 81, http={"response_timeout": "5s"}))
        client = self.connect(81, GET)
        self.network.run(6)
        self.assertEqual(parts(client.received)[0], 504)
        self.assertFalse(client.ended)
        self.assertTrue(self.backend.connections[-1].was_reset)

    def test_a_full_target_is_a_503_that_asks_to_come_again(self):
        targets = [{"host": "10.0.0.5", "port": 9000, "max_connections": 1}]
        self.start(Route(name="x", match={"ports": 81}, action={"targets": targets, "protocol": "http"}))
        self.connect(81, GET)
        client = self.connect(81, GET)
        self.assert_refused(client, 503)
        self.assertEqual(parts(client.received)[1]["Retry-After"], "1")

    def test_an_expectation_that_is_not_known_is_a_417(self):
        request = GET[:-2] + b"Expect: 200-ok\r\n\r\n"
        self.assert_refused(self.connect(80, request), 417, request)

    def test_draining_closes_the_connection_with_a_503(self):
        client = self.connect()
        self.proxy.drain()
        client.write(GET)
        self.network.settle()
        self.assertEqual(parts(client.received)[0], 503)
        self.assertTrue(client.ended)

    def test_a_body_that_still_comes_closes_the_connection(self):
        self.start(http_route("small", 81, http={"max_body_size": 3}))
        for body in (b"Content-Length: 4\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"):
            status, fields, _, client = self.ask(POST + body, 81)
            self.assertEqual((status, fields["Connection"]), (413, "close"))
            self.assertTrue(client.ended)

    def test_a_client_that_wants_to_close_is_closed(self):
        status, fields, _, client = self.ask(GET[:-2] + b"Expect: x\r\nConnection: close\r\n\r\n")
        self.assertEqual((status, fields["Connection"]), (417, "close"))
        self.assertTrue(client.ended)

    def test_http_1_0_is_told_that_the_connection_persists(self):
        loop = b"Via: " + b"1.0 smartproxy, " * 16
        request = b"GET / HTTP/1.0\r\nHost: a\r\n" + loop + b"\r\nConnection: keep-alive\r\n\r\n"
        status, fields, _, client = self.ask(request)
        self.assertEqual((status, fields["Connection"]), (508, "keep-alive"))
        self.assertFalse(client.ended)

    def test_head_gets_the_length_and_no_body(self):
        request = HEAD[:-2] + b"Expect: x\r\n\r\n"
        status, fields, body, client = self.ask(request + GET)
        self.assertEqual((status, body), (417, b""))
        self.assertEqual(fields["Content-Length"], "19")
        self.answer()
        self.assertTrue(client.received.endswith(OK))

    def test_pipelined_requests_are_refused_in_order(self):
        refused = GET[:-2] + b"Expect: x\r\n\r\n"
        client = self.connect(80, refused * 3 + GET)
        self.answer()
        self.assertEqual(client.received.count(b"HTTP/1.1 417 "), 3)
        self.assertTrue(client.received.endswith(OK))

    def test_a_client_that_does_not_read_gets_a_bounded_number_of_answers(self):
        """Each answer is longer than its request: without a bound a client could make the proxy hold gigabytes."""
        client = self.connect()
        client.reading = False
        refused = GET[:-2] + b"Expect: x\r\n\r\n"
        for _ in range(150):
            client.write(refused * 100)
            self.network.settle()
        self.assertGreater(client.waiting, 300_000)
        held = self.proxy.metrics.totals().bytes_sent
        self.assertLess(held, 1_000_000)
        client.reading = True
        self.network.run(2)
        self.assertEqual(client.received.count(b"HTTP/1.1 417 "), 15_000)
