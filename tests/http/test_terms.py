"""What a route allows and sets: limits, times, upgrades, forwarded fields; and its drain."""

from __future__ import annotations

from tests.http.case import GET, OK, SWITCHED, UPGRADE, HttpCase, http_route


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

    def test_a_426_says_which_protocol_is_required(self):
        """RFC 9110, 15.5.22: a client cannot know it otherwise. In any other answer it concerns the target's connection only."""
        fields = b"Connection: Upgrade\r\nUpgrade: websocket, chat\r\n"
        required = b"HTTP/1.1 426 x\r\n" + fields + b"Content-Length: 0\r\n\r\n"
        last = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        self.start(http_route("unruled", 82, action={"headers": {}}))
        for port in (80, 82):
            client = self.connect(port)
            self.assertIn(b"\r\n" + fields, self.exchange(client, UPGRADE, required), port)
            self.assertNotIn(b"Upgrade", self.exchange(client, GET, required.replace(b"426 ", b"400 ")))
            received = self.exchange(client, last, required)
            self.assertIn(b"\r\nConnection: close\r\n", received)
            self.assertIn(fields, received)

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

    def test_the_first_byte_of_a_connection_has_the_initial_data_timeout(self):
        """Also where a request may take any time: else a client that sends nothing keeps its socket for ever."""
        for port, request_timeout in ((81, "5s"), (82, 0)):
            one = http_route("terms", port, http={"request_timeout": request_timeout})
            self.start(one, initial_data_timeout="20s")
            silent, begun = self.connect(port), self.connect(port, b"GET / HT")
            self.network.run(6)
            self.assertEqual((silent.ended, begun.ended), (False, bool(request_timeout)))
            self.network.run(15)
            self.assertTrue(silent.ended)
            self.assertEqual(silent.received, b"")

    def test_a_websocket_of_another_origin_is_refused(self):
        self.terms(websocket={"origins": ["https://a.test"]})
        for origin, status in [(b"https://A.test", b""), (b"https://b.test", b"403"), (b"null", b"403")]:
            self.assertEqual(
                self.status(UPGRADE.replace(b"Host", b"Origin: " + origin + b"\r\nHost")), status
            )
        self.assertEqual(self.status(UPGRADE), b"403")
        self.assertEqual(self.status(GET), b"")

    def test_an_origin_with_its_default_port_is_the_one_without(self):
        """Browsers do not send it (RFC 6454, section 6.2)."""
        self.terms(websocket={"origins": ["https://a.test:443"]})
        self.assertEqual(self.status(UPGRADE.replace(b"Host", b"Origin: https://a.test\r\nHost")), b"")

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

    def test_other_fields_of_a_trusted_proxy_are_passed_on(self):
        """Except fields that its ``Connection`` lists, and other spellings of fields that are written anew."""
        self.start(http_route("f", 81), proxy_ips=["192.0.2.0/24"], accept_proxy_protocol=False)
        self.SENT = (
            b"X-Forwarded-Ssl: on\r\nX-Forwarded-User: bob\r\nX_Forwarded_Ssl2: a\r\nX-Forwarded-For2: b\r\nX_Forwarded_For: c\r\n"
            b"X-Forwarded-Prefix: /d\r\nConnection: X-Forwarded-User\r\n"
        )
        fields = self.fields(client=("192.0.2.7", 4000))
        others = {b"X-Forwarded-Ssl": b"on", b"X_Forwarded_Ssl2": b"a", b"X-Forwarded-For2": b"b"}
        self.assertLessEqual(others.items(), fields.items())
        self.assertEqual(len(fields), 6 + len(others))
        self.assertEqual(fields[b"X-Forwarded-For"], b"192.0.2.7")
        fields = self.fields(client=("192.0.3.7", 4000))
        self.assertEqual(len(fields), 6)

    def test_they_are_left_out_where_they_are_turned_off(self):
        """What a client sends is not passed on even then: the target may take it for ours."""
        route = http_route("f", 81)
        self.start(
            route.model_copy(update={"action": route.action.model_copy(update={"forwarded_headers": False})})
        )
        self.SENT += b"X-Forwarded-Ssl: on\r\n"
        self.assertEqual(self.fields(), {})

    def test_host_of_an_absolute_target_of_http_1_0_without_host(self):
        """The route was found by it (RFC 9112, 3.2.2)."""
        for target, host in (
            (b"http://a.test/x", b"a.test"), (b"http://A.test:8080?x=http://b.test/", b"A.test:8080"), (b"HTTPS://[::1]", b"[::1]"),
        ):  # fmt: skip
            self.connect(80, b"GET %b HTTP/1.0\r\nX: y\r\n\r\n" % target)
            lines = self.received()[0]
            self.assertEqual([line for line in lines if line[:5].lower() == b"host:"], [b"Host: " + host])
            self.assertIn(b"X-Forwarded-Host: " + host, lines)
            self.assertIn(b'host="%b"' % host, b"".join(lines))

    def test_request_of_http_1_0_without_any_host(self):
        for target in (b"/", b"/http://a.test/"):
            self.connect(80, b"GET %b HTTP/1.0\r\n\r\n" % target)
            lines = self.received()[0]
            self.assertIn(b"Host: ", lines)
            self.assertNotIn(b"X-Forwarded-Host", b"".join(lines))

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
