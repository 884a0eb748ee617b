"""Date: in every answer that a client gets (RFC 9110, 6.6.1)."""

from __future__ import annotations

from unittest import mock

from smartproxy.http import date_field
from tests.http.case import GET, OK, AnswerCase, http_route, parts

_NOW = 784111777.5
_DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
_CLOSING = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
_DATED = OK.replace(b"\r\n", b"\r\ndate: Mon, 07 Nov 1994 08:49:37 GMT\r\n", 1)


class DateTests(AnswerCase):
    def setUp(self):
        super().setUp()
        self.patch(date_field, "time", mock.Mock(time=lambda: self.now))
        self.now = _NOW
        self.start(
            http_route("unruled", 81, action={"headers": {}}),
            http_route("ruled", 82, action={"headers": {"response": {"set": {"X-A": "1"}}}}),
            http_route("removed", 83),
        )

    def sent(self, port, request=GET, answer=OK):
        """The fields that a new client gets."""
        return parts(self.exchange(self.connect(port), request, answer))[1]

    def test_answer_of_a_target_without_one(self):
        for port in (81, 82):
            for request in (GET, _CLOSING, GET.replace(b"GET", b"HEAD"), GET.replace(b"1.1", b"1.0")):
                self.assertEqual(self.sent(port, request)["Date"], _DATE, (port, request))

    def test_answer_that_is_remembered(self):
        """Its head is, and the date must not be."""
        for second in range(4):
            self.now = _NOW + second
            self.assertEqual(self.sent(81)["Date"], f"Sun, 06 Nov 1994 08:49:{37 + second} GMT")

    def test_answer_of_a_target_with_one(self):
        for port in (81, 82):
            fields = self.sent(port, answer=_DATED)
            self.assertEqual((fields["date"], fields.get("Date")), ("Mon, 07 Nov 1994 08:49:37 GMT", None))

    def test_rule_that_removes_it(self):
        for answer in (OK, _DATED):
            self.assertNotIn("date", map(str.lower, self.sent(83, answer=answer)))

    def test_answer_of_the_proxy(self):
        """To a request of a route, and to what is no request."""
        for request, expected in [(GET, 502), (b"GET / x\r\n\r\n", 400)]:
            client = self.connect(81, request)
            for connection in self.backend.connections:
                connection.rst()
            self.network.settle()
            status, fields, _ = parts(client.received)
            self.assertEqual((status, fields["Date"]), (expected, _DATE))
