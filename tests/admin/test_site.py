"""The HTTP server of the admin listener: routing, body limits, errors, escaping."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.admin import uploads
from smartproxy.admin.site import MAX_BODY
from smartproxy.errors import NoWorker
from smartproxy.net.half_close import LINGER
from tests.admin.doubles import FakeControl, Listener, parsed


class RoutingTests(SynchronousTestCase):
    def test_unknown_path_is_404_in_json(self):
        for path in ("/", "/api/v1", "/api/v1/nothing", "/healthz/", "/healthz/1", "/../metrics", "//"):
            with self.subTest(path):
                answer = Listener().get(path)
                self.assertEqual((answer.status, list(answer.json())), (404, ["error"]))

    def test_wrong_method_is_405_with_allow(self):
        answer = Listener().ask("DELETE", "/api/v1/routes")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD, PUT"))
        self.assertEqual(Listener().get("/api/v1/reload").headers["Allow"], "POST")

    def test_head_has_the_headers_of_get_and_no_body(self):
        answer = Listener().ask("HEAD", "/healthz")
        self.assertEqual((answer.status, answer.headers["Content-Length"], answer.body), (200, "17", b""))

    def test_replies_are_not_cached_or_sniffed(self):
        """``Cache-Control: no-store`` and ``X-Content-Type-Options: nosniff``."""
        headers = Listener().get("/healthz").headers
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(
            (headers["Cache-Control"], headers["X-Content-Type-Options"]), ("no-store", "nosniff")
        )

    def test_two_requests_on_one_connection(self):
        listener = Listener()
        transport = listener.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2)
        self.assertEqual(transport.value().count(b"200 OK"), 2)

    def test_failing_endpoint_is_500_and_only_the_log_says_why(self):
        control = FakeControl()
        control.status = lambda: {"secret": object()}
        answer = Listener(control).get("/api/v1/status")
        self.assertEqual(answer.status, 500)
        self.assertNotIn(b"object", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_without_a_worker_that_answers_it_is_503(self):
        """All workers may be starting just now: the client asks again, and it is no bug for the log."""
        listener = Listener()

        def nobody(_number):
            raise NoWorker("no worker process has answered")

        listener.control.end_connection = nobody
        with capturedLogs() as logs:
            answer = listener.ask("DELETE", "/api/v1/connections/1")
        self.assertEqual((answer.status, answer.json()), (503, {"error": "no worker process has answered"}))
        self.assertEqual([event for event in logs if "log_failure" in event], [])

    def test_idle_client_is_disconnected(self):
        listener = Listener()
        transport = listener.connect()
        listener.clock.advance(59)
        self.assertFalse(transport.disconnecting)
        listener.clock.advance(2)
        self.assertTrue(transport.disconnecting)

    def test_request_that_is_not_complete_in_time_is_disconnected(self):
        """However it is sent: neither a line nor a piece of its body extends the time."""
        body = b"Host: localhost\r\nContent-Length: 100\r\n\r\n"
        for begin, piece in ((b"", b"X: y\r\n"), (body, b"x")):
            with self.subTest(piece=piece):
                listener = Listener()
                transport = listener.send(b"PUT /api/v1/routes HTTP/1.1\r\n" + begin)
                for _ in range(5):
                    self.assertFalse(transport.aborted or transport.disconnecting)
                    listener.clock.advance(13)
                    listener.channel.dataReceived(piece)
                self.assertTrue(transport.aborted or transport.disconnecting)

    def test_no_deadline_stays_of_a_complete_head(self):
        listener = Listener()
        listener.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        listener.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(listener.clock.getDelayedCalls(), [])

    def test_started_site_has_no_timer(self):
        listener = Listener()
        self.assertEqual(listener.clock.getDelayedCalls(), [])
        listener.site.doStop()


class BodyTests(SynchronousTestCase):
    """A body above the limit is refused before it is buffered, and a deeply nested one without a recursion error."""

    HEAD = b"PUT /api/v1/routes HTTP/1.1\r\nHost: localhost\r\n"

    def _refused(self, listener, transport):
        answer = parsed(transport.value())
        self.assertEqual((answer.status, answer.headers["Connection"]), (413, "close"))
        self.assertEqual(len(answer.body), int(answer.headers["Content-Length"]))
        self.assertTrue(transport.half_closed)
        self.assertEqual(listener.control.changes, [])

    def test_announced_length_is_refused_before_the_body(self):
        listener = Listener()
        transport = listener.send(self.HEAD + b"Content-Length: 104857600\r\nExpect: 100-continue\r\n\r\n")
        self._refused(listener, transport)
        self.assertNotIn(b"100 Continue", transport.value())

    def test_chunked_body_is_refused_when_it_exceeds_the_limit(self):
        listener = Listener()
        transport = listener.send(self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        for _ in range(MAX_BODY // 65536):
            listener.channel.dataReceived(chunk)
        self.assertEqual(transport.value(), b"")
        listener.channel.dataReceived(chunk)
        self._refused(listener, transport)

    def test_rest_of_a_refused_body_is_dropped_then_aborted(self):
        listener = Listener()
        transport = listener.send(self.HEAD + b"Content-Length: 2000000\r\n\r\n")
        listener.channel.dataReceived(bytes(2_000_000))
        self._refused(listener, transport)
        listener.clock.advance(LINGER - 0.1)
        self.assertFalse(transport.aborted)
        listener.clock.advance(0.2)
        self.assertTrue(transport.aborted)

    def test_client_disconnect_cancels_the_abort(self):
        listener = Listener()
        transport = listener.send(self.HEAD + b"Content-Length: 2000000\r\n\r\n")
        listener.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(listener.clock.getDelayedCalls(), [])
        self.assertFalse(transport.aborted)

    def test_oldest_incomplete_body_makes_room(self):
        """A thousand clients that send a megabyte each, and never the last byte, must not hold a gigabyte."""
        self.patch(uploads, "MAX_INCOMPLETE", 250_000)
        listener = Listener()
        raw = self.HEAD + b"Content-Length: 100001\r\n\r\n" + bytes(100_000)
        clients = [listener.send(raw) for _ in range(4)]
        self.assertEqual([client.aborted for client in clients], [True, True, False, False])
        listener.channel.dataReceived(b" ")
        self.assertEqual(parsed(clients[3].value()).status, 400)
        self.assertEqual(listener.get("/healthz").status, 200)

    def test_complete_bodies_are_not_counted(self):
        self.patch(uploads, "MAX_INCOMPLETE", 250_000)
        listener = Listener()
        first = listener.send(self.HEAD + b"Content-Length: 100001\r\n\r\n" + bytes(100_000))
        for _ in range(4):
            listener.send(self.HEAD + b"Content-Length: 100000\r\n\r\n" + bytes(100_000))
        self.assertFalse(first.aborted)
        self.assertEqual(list(listener.site.uploads._sizes.values()), [100_000])

    def test_lost_connections_are_not_counted(self):
        listener = Listener()
        listener.send(self.HEAD + b"Content-Length: 100001\r\n\r\n" + bytes(100_000))
        listener.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(listener.site.uploads._sizes, {})

    def test_body_of_exactly_the_limit_is_accepted(self):
        body = b"[" + b" " * (MAX_BODY - 2) + b"]"
        listener = Listener()
        self.assertEqual(listener.ask("PUT", "/api/v1/routes", body=body).status, 200)
        self.assertEqual(listener.control.changes, [[]])

    def test_json_nested_beyond_the_stack_is_400(self):
        for body in (b"[" * 100_000, b'{"a":' * 100_000):
            self.assertEqual(Listener().ask("PUT", "/api/v1/routes", body=body).status, 400)

    def test_json_number_too_long_to_convert_is_400(self):
        self.assertEqual(
            Listener().ask("PUT", "/api/v1/routes", body=b"[" + b"9" * 10_000 + b"]").status, 400
        )

    def test_every_status_has_its_reason_phrase(self):
        """Twisted knows none for 422."""
        body = b'{"state": "dwon"}'
        head = b"PUT /api/v1/targets/web/none HTTP/1.1\r\nHost: 127.0.0.1:8404\r\nContent-Length: %d\r\n\r\n"
        said = Listener().send(head % len(body) + body).value()
        self.assertEqual(said.partition(b"\r\n")[0], b"HTTP/1.1 422 Unprocessable Content")

    def test_form_is_not_parsed(self):
        listener = Listener()
        form = "Content-Type: multipart/form-data; boundary=x"
        answer = listener.ask("POST", "/api/v1/drain", form, body=b"--broken")
        self.assertEqual(answer.status, 202)


class EscapingTests(SynchronousTestCase):
    """Bytes of a client appear in responses and log lines as printable ASCII only, so that they cannot forge output."""

    def test_server_name_with_control_characters_is_escaped(self):
        wild = 'a\r\nb\x00\x1b[31m\x7f\x9b\xe9\N{RIGHT-TO-LEFT OVERRIDE}\ud800"\\'
        control = FakeControl()
        control.connect().sni = wild
        answer = Listener(control).get("/api/v1/connections")
        self.assertEqual(answer.json()["connections"][0]["sni"], wild)
        self.assertEqual([byte for byte in answer.body[:-1] if not 32 <= byte < 127], [])

    def test_metrics_have_no_label_from_a_client(self):
        control = FakeControl()
        before = self._lines_of(control)
        control.connect(route=None).sni = 'x"} 1\nevil_metric 1'
        self.assertEqual(self._lines_of(control), before)

    def _lines_of(self, control):
        """The page without the values of this process, such as its CPU time, which changes in between."""
        page = Listener(control).get("/metrics").body.splitlines()
        return [line.split()[0] if line.startswith(b"process_") else line for line in page]

    def test_path_in_the_log_is_one_printable_line(self):
        """twisted.web refuses raw control characters itself; what else a client sends is logged as it was sent."""
        for path, logged in (
            ("/x\x1b[31m\N{NO-BREAK SPACE}", []),
            ("/x%1b[31m%c2%a0", ["admin: 'POST' '/x%1b[31m%c2%a0': 404"]),
        ):
            with capturedLogs() as events:
                Listener().ask("POST", path)
            self.assertEqual([formatEvent(event) for event in events], logged)
