"""Answers that have no content: 204, 205 and 304 (RFC 9110, 6.4.1, 8.6 and 15.3.6)."""

from __future__ import annotations

from twisted.web.server import NOT_DONE_YET

from smartproxy import http_respond
from smartproxy.errors import ConfigurationError
from tests.http.local.case import HandlerCase
from tests.http.local.test_resource import ResourceCase


async def pieces():
    yield b"piece"


class ResetContentTests(HandlerCase):
    """A 205 with content could not be told from the begin of the next answer by a client that awaits none."""

    def check(self):
        client = self.connect(81)
        for _ in range(2):
            answer = self.ask(client=client)
            self.assertEqual((answer.status, answer.content_length, answer.body), (205, "0", b""))
            self.assertIsNone(answer.transfer_encoding)

    def test_a_response_with_content_is_refused(self):
        error = self.assertRaises(
            ConfigurationError, self.local, type="respond", response={"status": 205, "body": "x"}
        )
        self.assertIn("action.response.status: has no body in HTTP (got 205)", str(error))
        self.assertRaises(ValueError, http_respond, b"x", 205)

    def test_a_response_without_content_is_sent(self):
        self.local(type="respond", response={"status": 205})
        self.check()

    def test_a_handler_cannot_send_content(self):
        async def handler(exchange):
            try:
                await exchange.respond(205, {}, b"x")
            except ValueError:
                await exchange.respond(205)

        self.handle(handler)
        self.check()

    def test_an_iterator_of_a_handler_is_not_read(self):
        async def handler(exchange):
            await exchange.respond(205, {}, pieces())

        self.handle(handler)
        self.check()


class ContentlessResourceTests(ResourceCase):
    def test_content_of_a_205_is_not_sent(self):
        def later(asked):
            asked.setResponseCode(205)
            asked.write(b"x")
            asked.finish()
            return NOT_DONE_YET

        def at_once(asked):
            asked.setResponseCode(205)
            return b"content"

        for answer in (later, at_once):
            self.page(answer)
            client = self.connect(81)
            for _ in range(2):
                got = self.ask(client=client)
                self.assertEqual((got.status, got.content_length, got.body), (205, "0", b""))

    def test_a_304_has_no_length_of_nothing(self):
        """A cache would take 0 for the length of the content that it has."""

        def answer(asked):
            return b"" if asked.setETag(b'"x"') else b"content"

        self.page(answer)
        self.assertEqual(self.ask().content_length, "7")
        for method in ("GET", "HEAD"):
            unchanged = self.ask(more='If-None-Match: "x"\r\n', method=method)
            self.assertEqual((unchanged.status, unchanged.content_length, unchanged.body), (304, None, b""))

    def test_a_304_may_have_the_length_of_the_content(self):
        def answer(asked):
            asked.setResponseCode(304)
            asked.setHeader(b"content-length", b"7")
            asked.finish()
            return NOT_DONE_YET

        self.page(answer)
        self.assertEqual(self.ask().content_length, "7")
