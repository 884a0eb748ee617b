"""Checks by HTTP request."""

from __future__ import annotations

from smartproxy.model.plan import OriginationPlan, SendHeader
from smartproxy.model.plan.check import CheckKind, HttpCheckPlan
from smartproxy.settings.tables.units import statuses
from tests.upstream.health.checking import HOST, CheckCase

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright"


class HttpCase(CheckCase):
    """A target that is asked at once; the test answers."""

    def ask(self, *, host=HOST, http=None, **more):
        self.check(CheckKind.HTTP, http=HttpCheckPlan(**(http or {})), fall=1, **more)
        while host not in self.dialer.pending:
            self.advance(0.1)
        self.far = self.dialer.accept(host)
        self.advance(0.05)
        return bytes(self.far.received)

    def answer(self, *pieces, http=None, end=False, **more):
        """What is found when the target sends ``pieces``."""
        self.ask(http=http, **more)
        for piece in pieces:
            self.far.write(piece)
            self.advance(0.05)
        if end:
            self.far.fin()
            self.advance(0.05)
        return self.found()

    def found(self):
        last = self.last()
        return None if last is None else (last.ok, last.detail)

    def assert_over_in_order(self):
        """We have ended our direction, and have not reset the connection."""
        self.assertTrue(self.far.ended)
        self.far.write(b"more")
        self.far.fin()
        self.advance(0.2)
        self.assertFalse(self.far.was_reset)


class RequestTests(HttpCase):
    def request(self, **more):
        first, *headers = self.ask(**more).decode().split("\r\n")
        return first, {line for line in headers if line}

    def test_request_is_for_one_answer_and_names_the_target(self):
        first, headers = self.request()
        self.assertEqual(first, "GET / HTTP/1.1")
        self.assertEqual(
            headers, {"Connection: close", f"Host: {HOST}", "User-Agent: smartproxy", "Accept: */*"}
        )

    def test_method_path_and_host_are_sent_as_written(self):
        for path in ("/health?full=1&a=%20", "//x", "/a;b=c/:d"):
            self.setUp()
            first, headers = self.request(http={"method": "OPTIONS", "path": path, "host": "app.test:81"})
            self.assertEqual(first, f"OPTIONS {path} HTTP/1.1")
            self.assertIn("Host: app.test:81", headers)

    def test_host_has_the_port_that_is_asked_unless_it_is_the_default(self):
        for more, expected in (
            ({"check_port": 8008}, f"{HOST}:8008"),
            ({"port": 8080}, f"{HOST}:8080"),
            ({"tls": True, "port": 443}, HOST),
            ({"tls": True}, f"{HOST}:80"),
            ({"hosts": ("2001:db8::1",), "host": "2001:db8::1"}, "[2001:db8::1]"),
            ({"hosts": ("2001:db8::1",), "host": "2001:db8::1", "port": 81}, "[2001:db8::1]:81"),
        ):
            self.setUp()
            if more.pop("tls", False):
                more["check_tls"] = OriginationPlan(verify=False)
            _, headers = self.request(**more)
            self.assertIn(f"Host: {expected}", headers)

    def test_target_is_asked_on_the_terms_of_its_connections(self):
        """The port of the check, from the local address, behind the header, over TLS that is made anew."""
        tls = OriginationPlan(verify=False, server_name="inner.test")
        received = self.ask(send_header=SendHeader(1), source="10.9.9.9", check_port=8008, check_tls=tls)
        self.assertTrue(received.startswith(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"), received)
        self.assertEqual(str(self.dialer.dialled[-1][0]), f"{HOST}:8008")
        self.assertEqual(self.dialer.sources[-1], "10.9.9.9")
        self.assertEqual(self.originated, [(tls, "inner.test", False)])


class AnswerTests(HttpCase):
    def test_status_decides(self):
        for status, passes in (
            (200, True),
            (302, True),
            (399, True),
            (400, False),
            (503, False),
            (999, False),
        ):
            self.setUp()
            ok, detail = self.answer(b"HTTP/1.1 %d Words\r\nContent-Length: 0\r\n\r\n" % status)
            expected = "" if passes else ", expected 200-399"
            self.assertEqual((ok, detail), (passes, f"status {status}{expected}"))
            self.assert_over_in_order()

    def test_statuses_may_be_a_list(self):
        allowed = {"statuses": (statuses(200), statuses("300-302"), statuses("404"))}
        for status, passes in ((200, True), (201, False), (301, True), (404, True)):
            self.setUp()
            ok, _ = self.answer(b"HTTP/1.1 %d W\r\nContent-Length: 0\r\n\r\n" % status, http=allowed)
            self.assertEqual(ok, passes)
        self.setUp()
        found = self.answer(b"HTTP/1.1 503 W\r\nContent-Length: 0\r\n\r\n", http=allowed)
        self.assertEqual(found, (False, "status 503, expected 200, 300-302, 404"))

    def test_a_redirect_is_an_answer_and_not_followed(self):
        found = self.answer(
            b"HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(found, (True, "status 302"))
        self.assertEqual(len(self.dialer.dialled), 1)

    def test_cookies_are_not_sent_back(self):
        self.answer(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
        self.far.fin()
        self.until_dialed_again()
        self.assertNotIn(b"ookie", bytes(self.far.received))

    def until_dialed_again(self):
        self.far = self.until_dialed()
        self.advance(0.1)

    def test_answers_without_a_body(self):
        for head, method in (
            (b"HTTP/1.1 204 No Content\r\n\r\n", "GET"),
            (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"),
            (b"HTTP/1.0 200 OK\r\n\r\n", "HEAD"),
        ):
            self.setUp()
            self.assertTrue(self.answer(head, http={"method": method})[0], head)
            self.assert_over_in_order()
            self.setUp()
            found = self.answer(head, http={"method": method, "body": b"right"})
            self.assertEqual(found[0], False)
            self.assertIn("and the body does not contain 'right'", found[1])

    def test_an_interim_answer_is_passed_over(self):
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        self.assertEqual(self.answer(interim, OK), (True, "status 200"))

    def test_answer_may_come_in_any_pieces(self):
        for http in ({}, {"body": b"right"}):
            self.setUp()
            found = self.answer(*(OK[at : at + 1] for at in range(len(OK) - 1)), http=http, timeout=60.0)
            self.assertEqual(found, None if http else (True, "status 200"))
            if http:
                self.far.write(OK[-1:])
                self.advance(0.1)
                self.assertEqual(self.found(), (True, "status 200, and the body contains 'right'"))

    def test_a_body_that_never_ends_is_not_waited_for(self):
        found = self.answer(b"HTTP/1.1 200 OK\r\n\r\nand so on")
        self.assertEqual(found, (True, "status 200"))
        self.assert_over_in_order()

    def test_body_is_read_no_further_than_what_is_expected(self):
        found = self.answer(b"HTTP/1.1 200 OK\r\n\r\nall is ri", b"ght and so on", http={"body": b"right"})
        self.assertEqual(found, (True, "status 200, and the body contains 'right'"))
        self.assert_over_in_order()

    def test_chunked_body_is_searched_across_chunks(self):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = self.answer(head + b"2\r\nri\r\n", b"3\r\nght\r\n0\r\n\r\n", http={"body": b"right"})
        self.assertEqual(found, (True, "status 200, and the body contains 'right'"))
        self.setUp()
        found = self.answer(head + b"2\r\nri\r\n0\r\n\r\n", http={"body": b"right"})
        self.assertEqual(found, (False, "status 200, and the body does not contain 'right'"))

    def test_body_may_end_with_its_connection(self):
        found = self.answer(b"HTTP/1.0 200 OK\r\n\r\nwrong", http={"body": b"right"}, end=True)
        self.assertEqual(found, (False, "status 200, and the body does not contain 'right'"))

    def test_body_that_is_cut_does_not_contain_it(self):
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
        found = self.answer(head, b"ri", http={"body": b"right"}, end=True)
        self.assertEqual(
            found, (False, "status 200, and the body ends too early and does not contain 'right'")
        )

    def test_only_the_first_64_kib_of_a_body_are_searched(self):
        head, block = b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 8192
        at_the_end = [head, *[block] * 7, b"x" * (8192 - 5) + b"right"]
        self.assertTrue(self.answer(*at_the_end, http={"body": b"right"}, timeout=9.0)[0])
        self.setUp()
        found = self.answer(
            head, *[block] * 7, b"x" * (8192 - 4) + b"right", http={"body": b"right"}, timeout=9.0
        )
        self.assertEqual(
            found, (False, "status 200, and the body does not contain 'right' in its first 65536 bytes")
        )
        self.assert_over_in_order()

    def test_text_of_the_body_is_in_utf8_and_shown_as_ascii(self):
        self.answer(OK, http={"body": "größer".encode()})
        self.assertIn(r"does not contain 'gr\xf6\xdfer'", self.last().detail)


class BadAnswerTests(HttpCase):
    def test_what_is_not_http_is_shown(self):
        for begin in (
            b"SSH-2.0-OpenSSH_9.2p1\r\n",
            b"\x16\x03\x01\x02\x00\n",
            b"220 mail.test ESMTP\r\n",
            b"HTTP/1.1\r\n",
        ):
            self.setUp()
            ok, detail = self.answer(begin)
            self.assertEqual((ok, detail[:28]), (False, "the answer is not HTTP: " + detail[24:28]), begin)
            self.assert_over_in_order()

    def test_a_greeting_before_the_request_is_not_an_error_of_ours(self):
        """Bytes that are received before the request is written."""
        self.check(CheckKind.HTTP, fall=1)
        while HOST not in self.dialer.pending:
            self.clock.advance(0.05)
        self.far = self.dialer.accept(HOST)
        self.far.write(b"220 mail.test ESMTP\r\n")
        self.advance(0.2)
        self.assertEqual(self.found(), (False, r"the answer is not HTTP: '220 mail.test ESMTP\r\n'"))

    def test_a_target_that_closes(self):
        self.assertEqual(self.answer(end=True), (False, "it closed the connection without an answer"))
        self.setUp()
        found = self.answer(b"HTTP/1.1 200 OK\r\nConte", end=True)
        self.assertEqual(found, (False, "it closed the connection in the middle of its answer"))

    def test_a_target_that_resets(self):
        self.ask()
        self.far.rst()
        self.advance(0.1)
        self.assertEqual(self.found(), (False, "it closed the connection without an answer"))

    def test_no_answer_in_time(self):
        self.ask()
        self.advance(1.2)
        self.assertEqual(self.found(), (False, "no answer in 1 s"))
        self.assert_over_in_order()

    def test_an_answer_in_drips_is_not_waited_for(self):
        self.ask()
        for _ in range(30):
            self.far.write(b"H" if not self.far.ended else b"")
            self.advance(0.05)
        self.assertFalse(self.found()[0])
        self.setUp()
        self.ask()
        self.far.write(b"HTTP/1.1 200 OK\r\n")
        self.advance(1.2)
        self.assertEqual(self.found(), (False, "the answer is not complete in time"))

    def test_a_body_in_drips_is_not_waited_for(self):
        self.answer(b"HTTP/1.1 200 OK\r\n\r\nri", http={"body": b"right"})
        self.advance(1.2)
        self.assertEqual(
            self.found(),
            (
                False,
                "status 200, and the body does not contain 'right' so far, and there was no more in time",
            ),
        )
        self.assert_over_in_order()

    def test_a_head_without_end_is_bounded(self):
        self.answer(b"HTTP/1.1 200 OK\r\n", *[b"X-A: %s\r\n" % (b"x" * 4000)] * 17, timeout=9.0)
        self.assertEqual(self.found(), (False, "the head of its answer is over 65536 bytes"))
        self.assert_over_in_order()

    def test_a_line_without_end_is_bounded(self):
        self.answer(b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 17000, timeout=9.0)
        self.assertEqual(self.found(), (False, "a line in the head of its answer is too long"))

    def test_interim_answers_without_end_are_bounded(self):
        self.answer(*[b"HTTP/1.1 102 Wait\r\n\r\n" * 400] * 9, timeout=9.0)
        self.assertEqual(self.found(), (False, "the head of its answer is over 65536 bytes"))

    def test_the_target_is_removed_while_it_is_asked(self):
        self.ask()
        self.groups.apply({})
        self.checks.apply(self.groups.in_use())
        self.advance(0.2)
        self.assertIsNone(self.last())
        self.assert_over_in_order()

    def test_stop_closes_at_once(self):
        self.ask()
        self.checks.stop()
        self.advance(0.1)
        self.assertTrue(self.far.was_reset)
        self.assertEqual(self.flushLoggedErrors(), [])
