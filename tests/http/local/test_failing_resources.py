"""Answers of resources of twisted.web that cannot be sent, and producers that fail."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from tests.http.local.case import request
from tests.http.local.test_resource import ResourceCase


class StatusTests(ResourceCase):
    def late(self, change):
        """The answer to a request that is changed and finished later."""
        go_on, errors = Deferred(), []

        def answer(asked):
            go_on.addCallback(lambda _: (change(asked), asked.finish()))
            go_on.addErrback(errors.append)
            return NOT_DONE_YET

        self.page(answer)
        client = self.connect(81, request())
        go_on.callback(None)
        self.network.settle()
        return bytes(client.received), errors

    def test_a_status_that_is_not_final_is_a_500(self):
        """RFC 9110, 15.2: a client would wait for the final answer."""
        for status in (100, 101, 103, 199, 0, 1000):

            def answer(asked, status=status):
                asked.setResponseCode(status)
                return b""

            self.page(answer)
            got = self.ask()
            self.assertEqual((got.status, got.body), (500, b"Internal Server Error\n"), status)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_so_it_is_where_the_answer_is_sent_later(self):
        received, errors = self.late(lambda asked: asked.setResponseCode(103))
        self.assertTrue(received.startswith(b"HTTP/1.1 500 "), received)
        self.assertEqual([error.type for error in errors], [ValueError])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_so_is_a_header_that_is_not_printable(self):
        received, _ = self.late(lambda asked: asked.setHeader(b"x-a", b"a\x00b"))
        self.assertTrue(received.startswith(b"HTTP/1.1 500 "), received)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
