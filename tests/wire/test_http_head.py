import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import http_head
from smartproxy.wire.http_fields import Fields
from smartproxy.wire.http_head import RequestHead
from smartproxy.wire.verdict import Done, Malformed, NeedMore
from tests.wire.ways import PROPERTY, check, check_refused, check_remembers, check_sound, damaged, work

SIMPLE = b"GET /a/b?c=d HTTP/1.1\r\nHost: a.example\r\nX-Env:  staging \r\n\r\n"


def parse(data):
    return http_head.parse(data)


def request(line, *headers):
    return "\r\n".join([line, *headers, "", ""]).encode("latin-1")


def host_of(value):
    return parse(request("GET / HTTP/1.1", f"Host: {value}")).value.host


class ParseTests(SynchronousTestCase):
    def test_a_path_as_target_is_parsed(self):
        headers = (("host", "a.example"), ("x-env", "staging"))
        check(
            self,
            parse,
            SIMPLE,
            RequestHead("GET", "/a/b?c=d", "/a/b", "a.example", (1, 1), Fields.of(headers)),
        )

    def test_http_1_0_without_host_is_parsed(self):
        check(self, parse, b"GET / HTTP/1.0\r\n\r\n", RequestHead("GET", "/", "/", None, (1, 0)))

    def test_a_url_as_target_gives_path_and_host(self):
        for target, path in [
            ("http://A.example/x/y?z", "/x/y"),
            ("HTTP://a.example:80", "/"),
            ("https://a.example:443?q=/", "/"),
        ]:
            port = ":443" if target.startswith("https") else ""
            data = request(f"GET {target} HTTP/1.1", f"Host: a.EXAMPLE{port}")
            head = parse(data).value
            self.assertEqual((head.target, head.path, head.host), (target, path, "a.example"))
        self.assertEqual(parse(request("GET http://b.example/ HTTP/1.0")).value.host, "b.example")

    def test_a_host_other_than_that_of_the_url_is_refused(self):
        """The proxy would route by one of them, and the backend might serve the other."""
        for host in ["b.example", "a.example:8080", "", "[::1]"]:
            check_refused(self, parse, request("GET http://a.example/ HTTP/1.1", f"Host: {host}"))

    def test_connect_needs_host_and_port(self):
        head = parse(request("CONNECT a.example:443 HTTP/1.1", "Host: a.example")).value
        self.assertEqual((head.path, head.host), ("", "a.example"))
        for line in ["CONNECT a.example HTTP/1.1", "CONNECT /x HTTP/1.1", "CONNECT :443 HTTP/1.1"]:
            check_refused(self, parse, request(line, "Host: a.example"))

    def test_an_asterisk_as_target_is_for_options_only(self):
        self.assertEqual(parse(request("OPTIONS * HTTP/1.1", "Host: a")).value.path, "*")
        check_refused(self, parse, request("GET * HTTP/1.1", "Host: a"))

    def test_a_host_is_normalised(self):
        for value, host in [
            ("WWW.Example.com", "www.example.com"),
            ("a.example.:8080", "a.example"),
            ("a.example:", "a.example"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:DB8::1]:443", "2001:db8::1"),
            ("[::1]", "::1"),
            ("", None),
        ]:
            self.assertEqual(host_of(value), host)

    def test_an_invalid_host_is_refused(self):
        for value in ["a b", "a.example:x", "a.example:70000", "u@a.example", "a/b", "::1", "[::1", "[1.2.3.4]",
                      "[fe80::1%25eth0]", "[1::2::3]", "a..b", "*.example", "a,b", "\xe9.example", "a.example:80:80"]:  # fmt: skip
            check_refused(self, parse, request("GET / HTTP/1.1", f"Host: {value}"))

    def test_a_missing_or_second_host_is_refused(self):
        """Which one the backend takes is not known."""
        check_refused(self, parse, request("GET / HTTP/1.1"))
        check_refused(self, parse, request("GET / HTTP/1.1", "Host: a", "Host: a"))
        check_refused(self, parse, request("GET / HTTP/1.0", "Host: a", "hOST: b"))
        check_refused(self, parse, request("GET http://:80/ HTTP/1.0"))

    def test_a_malformed_request_line_is_refused(self):
        for line in [
            "GET  / HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET /\tHTTP/1.1", "GET /", "GET", "",
            "G@T / HTTP/1.1", "GET / http/1.1", "GET / HTTP/1", "GET / HTTP/1.10", "GET / HTTP/01.1",
            "GET a.example HTTP/1.1", "GET /\xe9 HTTP/1.1", "GET /a b HTTP/1.1", "GET /a#b HTTP/1.1",
            "GET ftp://a/ HTTP/1.1", "GET http:///x HTTP/1.1", "GET http://:80/ HTTP/1.1", "GET /\x7f HTTP/1.1",
            "G" * 33 + " / HTTP/1.1",
        ]:  # fmt: skip
            check_refused(self, parse, request(line, "Host: a"))

    def test_a_malformed_header_field_is_refused(self):
        """A blank before the colon, or a folded line, is read in different ways: request smuggling."""
        for field in [
            "X-A : b", " X-A: b", "\tfolded", "X A: b", ": b", "X-A", "X-\xe9: b", "X-A: b\x00c", "X-A: \x1b[0m",
            "X-A: b\x7f", "X-A: b\x0bc", "X(A): b",
        ]:  # fmt: skip
            check_refused(self, parse, request("GET / HTTP/1.1", "Host: a", field))

    def test_cr_or_lf_alone_is_refused(self):
        """Some servers end a line there, and would see other header fields."""
        for data in [
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
            b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ]:
            check_refused(self, parse, data)

    def test_bytes_outside_of_ascii_in_values_are_kept(self):
        head = parse(request("GET / HTTP/1.1", "Host: a", "X-A: \t \xa0b\tc \x85\t ", "X-A:")).value
        self.assertEqual(head.headers[1:], (("x-a", "\xa0b\tc \x85"), ("x-a", "")))

    def test_bytes_behind_the_head_are_not_parsed(self):
        """They are the body, or the next request."""
        self.assertEqual(parse(SIMPLE + b"\x00\n\r").consumed, len(SIMPLE))

    @PROPERTY
    @given(
        damaged(
            SIMPLE, request("CONNECT a:1 HTTP/1.1", "Host: a:1"), request("GET http://a/b HTTP/1.0", "X: y")
        )
    )
    def test_arbitrary_bytes_never_raise(self, data):
        check_sound(self, parse, data)
        check_remembers(self, http_head.HeadParser(), parse, data)

    @PROPERTY
    @given(
        st.from_regex(r"[A-Z!#$%&'*+.^_`|~-]{1,32}", fullmatch=True).filter(
            lambda method: method != "CONNECT"
        ),
        st.from_regex(r"/[!\"$->@-~]{0,40}(\?[!\"$-~]{0,20})?", fullmatch=True),
        st.lists(
            st.tuples(
                st.from_regex(r"x-[a-z0-9_~-]{0,12}", fullmatch=True),
                st.from_regex(r"([!-~\x80-\xff]([ \t!-~\x80-\xff]{0,20}[!-~])?)?", fullmatch=True),
            ),
            max_size=8,
        ),
    )
    def test_what_a_client_writes_is_parsed_back(self, method, target, fields):
        headers = (("host", "a.example"), *fields)
        data = request(
            f"{method} {target} HTTP/1.1", *[f"{name.upper()}:\t{value} " for name, value in headers]
        )
        path = target.partition("?")[0]
        self.assertEqual(
            parse(data),
            Done(RequestHead(method, target, path, "a.example", (1, 1), Fields.of(headers)), len(data)),
        )


class LimitTests(SynchronousTestCase):
    def test_a_request_line_that_fills_the_head_is_refused(self):
        longest = "GET /" + "a" * (http_head.HEAD_LIMIT - 18) + " HTTP/1.0"
        self.assertIsInstance(parse(request(longest)), Done)
        self.assertIs(parse(request(longest.replace("/", "/a", 1))), http_head.LINE_TOO_LONG)
        endless = b"GET /" + b"a" * http_head.HEAD_LIMIT
        self.assertIsInstance(parse(endless[: http_head.HEAD_LIMIT - 4]), NeedMore)
        self.assertIs(parse(endless[: http_head.HEAD_LIMIT - 3]), http_head.LINE_TOO_LONG)
        self.assertIs(parse(endless), http_head.LINE_TOO_LONG)

    def test_other_limits_hold_in_their_place(self):
        limits = http_head.HeadLimits(1024, 3)
        for data, verdict in [
            (request("GET / HTTP/1.1", "Host: a", "X: y", "X: y"), None),
            (request("GET / HTTP/1.1", "Host: a", *["X: y"] * 3), http_head.TOO_MANY_HEADERS),
            (request("GET / HTTP/1.1", "Host: a", "X: " + "y" * 1024), http_head.HEAD_TOO_LONG),
            (request("GET /" + "a" * 1024 + " HTTP/1.1", "Host: a"), http_head.LINE_TOO_LONG),
        ]:
            found = http_head.parse(data, limits)
            self.assertIs(found if verdict else None, verdict)
            check_remembers(
                self, http_head.HeadParser(limits=limits), lambda held: http_head.parse(held, limits), data
            )

    def test_a_head_that_is_known_is_the_first_one_within_other_limits(self):
        known = RequestHead("GET", "/known", "/known", "a", (1, 1), Fields.of([("host", "a"), ("x", "y")]))
        data = request("GET / HTTP/1.1", "Host: a", "X: y")
        for limits, first in [
            (http_head.HEAD_LIMITS, Done(known, len(data))),
            (http_head.HeadLimits(len(data), 2), Done(known, len(data))),
            (http_head.HeadLimits(len(data), 1), http_head.TOO_MANY_HEADERS),
            (http_head.HeadLimits(len(data) - 1, 2), http_head.HEAD_TOO_LONG),
        ]:
            with self.subTest(limits=limits):
                parser = http_head.HeadParser(limits=limits, known=known)
                self.assertEqual(parser(data), first)
                if isinstance(first, Done):
                    self.assertEqual(parser(data), parse(data))

    def test_more_header_fields_than_the_limit_are_refused(self):
        self.assertIsInstance(parse(request("GET / HTTP/1.1", "Host: a", *["X: y"] * 99)), Done)
        many = request("GET / HTTP/1.1", "Host: a", *["X: y"] * 100)
        self.assertIs(parse(many), http_head.TOO_MANY_HEADERS)
        self.assertIs(parse(many[:-2]), http_head.TOO_MANY_HEADERS)

    def test_too_many_header_fields_are_not_parsed(self):
        """To parse 10,000 fields would cost as much as many honest heads."""
        parser = http_head.HeadParser(block_of=self.fail)
        many = request("GET / HTTP/1.1", "Host: a", *["X: y"] * 100)
        self.assertIs(parser(many), http_head.TOO_MANY_HEADERS)
        self.assertEqual(parser(many.replace(b"y", b"\0", 1)).why, "control character")

    def test_a_head_over_the_limit_is_refused(self):
        """So no client can make the proxy buffer more."""
        start = request("GET / HTTP/1.1", "Host: a")[:-2] + b"X: "
        fits = start + b"a" * (http_head.HEAD_LIMIT - len(start) - 4) + b"\r\n\r\n"
        self.assertEqual(parse(fits + b"x").consumed, http_head.HEAD_LIMIT)
        self.assertIs(parse(start + b"a" * http_head.HEAD_LIMIT), http_head.HEAD_TOO_LONG)
        self.assertIs(parse(fits[:-4] + b"a\r\n\r\n"), http_head.HEAD_TOO_LONG)
        self.assertEqual(parse(fits[:-4]), NeedMore(http_head.HEAD_LIMIT))

    def test_a_head_in_small_pieces_takes_linear_time(self):
        """64 KiB in pieces of 4 bytes are 16,384 verdicts, each of them on all that was received so far."""
        fields = [f"X-{number}: {'v' * 600}" for number in range(98)]
        for data in (
            request("GET / HTTP/1.1", "Host: a", *fields),
            request("GET /" + "a" * 8000 + " HTTP/1.1", "Host: a"),
            request("GET / HTTP/1.1", "Host: a", "X: " + "v" * 65_000),
        ):
            for size in (1, 4):
                seen, verdict = work(http_head.HeadParser(), data, size)
                self.assertIsInstance(verdict, Done)
                self.assertLess(seen, 50 * len(data))

    def test_pieces_give_the_verdicts_of_the_whole(self):
        for data in (
            request("GET / HTTP/1.1", "Host: a", "X: y"),
            request("GET / HTTP/1.1", "Host: a", *["X: y"] * 100),
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\rX\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \x00\r\n\r\n",
            b"X" * 40 + b" / HTTP/1.1\r\n",
        ):
            check_remembers(self, http_head.HeadParser(), parse, data)

    def test_the_worst_heads_are_parsed_in_linear_time(self):
        """Blanks, colons and CRs make an ambiguous regular expression backtrack: for minutes, not for milliseconds."""
        for filling in (b" ", b"\t", b":", b"a:", b"/", b"?", b"X: \r\n", b"%"):
            data = b"GET / HTTP/1.1\r\nHost: a\r\nX:" + (filling * 65536)[:65000] + b"\r\n\r\n"
            began = time.process_time()
            parse(data)
            parse(data[:-4])
            parse(b"GET /" + data[22:])
            self.assertLess(time.process_time() - began, 10, filling)


class BeginsTests(SynchronousTestCase):
    def test_the_beginning_of_a_request_is_recognised(self):
        for begin in [
            b"GET ",
            b"GET / HTTP/1.1\r\n",
            b"OPTIONS *",
            b"CONNECT a:1",
            b"PROPFIND /",
            b"M-SEARCH /",
            SIMPLE,
        ]:
            self.assertIs(http_head.begins_request(begin), True, begin)

    def test_a_possible_beginning_is_undecided(self):
        for begin in [
            b"",
            b"G",
            b"GET",
            b"PROPFIND",
            b"PROPFIND ",
            b"BASELINE-CONTROL",
            b"BASELINE-CONTROL ",
        ]:
            self.assertIsNone(http_head.begins_request(begin), begin)

    def test_other_bytes_are_not_the_beginning_of_a_request(self):
        for begin in [
            b"get ",
            b" GET",
            b"SSH-2",
            b"EHLO e",
            b"PRI *",
            b"\x16",
            b"\r\n",
            b"GET\r",
            b"A" * 17,
            b"-A",
            b"GET\n",
        ]:
            self.assertIs(http_head.begins_request(begin), False, begin)


class RefusalTests(SynchronousTestCase):
    def test_each_kind_of_malformed_head_has_its_status(self):
        for why, status in [
            (http_head.LINE_TOO_LONG, 414),
            (http_head.HEAD_TOO_LONG, 431),
            (http_head.TOO_MANY_HEADERS, 431),
            (parse(request("GET / HTTP/2.0", "Host: a")), 505),
            (Malformed("anything else"), 400),
        ]:
            self.assertEqual(http_head.status_of(why), status, why)
