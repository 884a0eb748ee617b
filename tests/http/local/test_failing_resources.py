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

    def test_a_body_that_is_not_bytes_is_a_500_and_logged(self):
        """``twisted.web`` itself sends the client what the resource and its value look like, and logs nothing."""
        for body in ("secret", None, 5):
            self.page(lambda asked, body=body: body)
            got = self.ask()
            self.assertEqual((got.status, got.body), (500, b"Internal Server Error\n"), body)
            self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1, body)


class Failing:
    """A producer whose named methods raise."""

    def __init__(self, asked, *fails):
        self.asked, self.fails, self.called = asked, fails, []

    def _call(self, name):
        self.called.append(name)
        if name in self.fails:
            raise LookupError("secret")

    def pauseProducing(self):
        self._call("pause")

    def resumeProducing(self):
        self._call("resume")

    def stopProducing(self):
        self._call("stop")


class ProducerTests(ResourceCase):
    """An exception of a producer ends its exchange only, is logged with the route, and does not reach the reactor."""

    def setUp(self):
        super().setUp()
        self.told = []

    def produce(self, *fails, size=0, streaming=True, reading=True, while_paused=False):
        """A client whose answer has a failing producer."""

        def answer(asked):
            asked.notifyFinish().addErrback(self.told.append)
            self.producer = Failing(asked, *fails)
            if while_paused:
                asked.write(b"x" * size)
            asked.registerProducer(self.producer, streaming)
            if size and not while_paused:
                asked.write(b"x" * size)
            return NOT_DONE_YET

        self.page(answer)
        client = self.connect(81)
        client.reading = reading
        client.write(request())
        self.network.settle()
        return client

    def check_failed(self, client, failures=1):
        client.reading = True
        self.network.run(1)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), failures)
        self.assertNotIn(b"secret", client.received)
        self.assertEqual(len(self.told), 1)
        counted = self.proxy.counters.route("local").of_requests()
        self.assertEqual(counted.active, 0)

    def test_a_pull_producer_that_fails_before_the_answer_is_a_500(self):
        client = self.produce("resume", streaming=False)
        self.check_failed(client)
        self.assertTrue(client.received.startswith(b"HTTP/1.1 500 "), client.received)
        self.assertEqual(self.producer.called, ["resume", "stop"])

    def test_a_pull_producer_that_fails_within_the_answer_cuts_the_client_off(self):
        client = self.produce("resume", streaming=False, size=1000)
        self.check_failed(client)
        self.assertTrue(client.gone)
        self.assertNotIn(b"\r\n0\r\n", client.received)

    def test_one_that_fails_to_pause_cuts_the_client_off(self):
        client = self.produce("pause", size=300_000, reading=False)
        self.check_failed(client)
        self.assertTrue(client.gone)
        self.assertEqual(self.producer.called, ["pause", "stop"])

    def test_one_that_fails_to_pause_when_it_is_registered_cuts_the_client_off(self):
        client = self.produce("pause", size=300_000, reading=False, while_paused=True)
        self.check_failed(client)
        self.assertTrue(client.gone)

    def test_one_that_fails_to_go_on_cuts_the_client_off(self):
        client = self.produce("resume", size=300_000, reading=False)
        self.assertEqual(self.producer.called, ["pause"])
        client.reading = True
        self.network.run(1)
        self.check_failed(client)
        self.assertTrue(client.gone)

    def test_one_that_fails_to_stop_as_well_is_logged_twice(self):
        client = self.produce("pause", "stop", size=300_000, reading=False)
        self.check_failed(client, failures=2)
        self.assertTrue(client.gone)

    def test_the_request_is_told_that_its_client_has_left_where_the_producer_fails_to_stop(self):
        client = self.produce("stop")
        client.rst()
        self.network.settle()
        self.check_failed(client)
        self.assertEqual(self.proxy.registry.active, 0)
