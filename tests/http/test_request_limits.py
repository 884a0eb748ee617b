"""Limits of requests: how large a head is, and how slowly a body comes."""

from __future__ import annotations

from tests.http.case import OK, POST, AnswerCase, http_route, parts


class HeadLimitTests(AnswerCase):
    def start_limited(self):
        self.start(
            http_route("small", 81, path="/small*", http={"max_header_size": 1024, "max_headers": 3}),
            http_route("wide", 81, path="/wide*", http={"max_header_size": "128KiB", "max_headers": 200}),
        )

    def status(self, request):
        client = self.connect(81, request)
        return parts(client.received)[0] if client.received else 0

    def test_each_route_has_its_own_limits(self):
        self.start_limited()
        for path, target, fields, status in [
            ("small", 0, "", 0),
            ("small", 1100, "", 414),
            ("small", 0, "X: y\r\n" * 3, 431),
            ("small", 0, f"X: {'y' * 1000}\r\n", 431),
            ("wide", 100_000, "", 0),
            ("wide", 0, "X: y\r\n" * 199, 0),
            ("wide", 0, "X: y\r\n" * 200, 431),
            ("wide", 0, f"X: {'y' * 100_000}\r\n", 0),
            ("wide", 0, f"X: {'y' * 132_000}\r\n", 431),
            ("wide", 132_000, "", 414),
        ]:
            request = f"GET /{path}{'a' * target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()
            self.assertEqual(self.status(request), status, request[:40])

    def test_limits_hold_where_detection_has_read_the_head_by_wider_ones(self):
        self.start(http_route("small", 81, path="/small*", http={"max_header_size": 1024, "max_headers": 3}))
        for fields, status in [
            ("X: y\r\n" * 2, 0),
            ("X: y\r\n" * 3, 431),
            (f"X: {'y' * 1000}\r\n", 431),
        ]:
            self.assertEqual(
                self.status(f"GET /small HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode()), status, fields
            )

    def test_a_head_over_the_limit_of_its_route_is_counted_for_the_route(self):
        self.start_limited()
        self.status(b"GET /small HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 3 + b"\r\n")
        self.assertEqual(
            self.page(), ['smartproxy_http_requests_total{code="431",method="GET",route="small"} 1']
        )


class BodyRateTests(AnswerCase):
    BEGIN = POST + b"Content-Length: 100000\r\n\r\n"

    def setUp(self):
        super().setUp()
        self.log_to(http_route(http={"body_minimum_rate": 100}))

    def send(self, client, size, seconds, every=1):
        for _ in range(seconds // every):
            client.write(b"x" * size)
            self.network.run(every)

    def test_a_body_that_comes_too_slowly_is_a_408(self):
        client = self.connect(80, self.BEGIN)
        self.send(client, 120, 30)
        self.assertEqual(client.received, b"")
        self.send(client, 80, 16)
        status, fields, _ = parts(client.received)
        self.assertEqual((status, fields["Connection"]), (408, "close"))
        self.assertTrue(self.backend.connections[-1].was_reset)
        self.assertEqual([line["status"] for line in self.lines()], [408])

    def test_a_client_that_waits_to_be_told_to_continue_is_not_too_slow(self):
        client = self.connect(80, self.BEGIN)
        self.network.run(30)
        self.assertEqual(client.received, b"")

    def test_a_body_that_has_ended_is_not_measured(self):
        client = self.connect(80, POST + b"Content-Length: 2\r\n\r\na")
        self.network.run(1)
        client.write(b"b")
        self.network.run(30)
        self.assertEqual(client.received, b"")

    def test_time_in_which_the_target_does_not_read_is_left_out(self):
        client = self.connect(80, POST + b"Content-Length: 10000000\r\n\r\n")
        self.backend.connections[-1].reading = False
        client.write(b"x" * 5_000_000)
        self.network.run(40)
        self.assertEqual(client.received, b"")
        self.backend.connections[-1].reading = True
        self.network.run(4)
        self.assertEqual(client.received, b"")


class SlowTargetTests(AnswerCase):
    """A client that could send, if the target would read, is not too slow."""

    SIZE = 1_000_000

    def uploading(self, **keys):
        self.start(http_route("up", 81, http={"request_timeout": "10s"}), **keys)
        client = self.connect(81, POST + b"Content-Length: %d\r\n\r\n" % self.SIZE)
        self.backend.connections[-1].reading = False
        client.write(bytes(self.SIZE))
        self.network.settle()
        return client

    def test_a_target_that_reads_late_gets_the_whole(self):
        client = self.uploading()
        self.network.run(600)
        self.assertEqual((client.received, client.ended), (b"", False))
        self.backend.connections[-1].reading = True
        self.network.settle()
        self.answer()
        self.assertEqual(client.received, OK)

    def test_a_client_that_may_send_again_has_its_time_anew(self):
        client = self.uploading()
        self.network.run(9)
        self.backend.connections[-1].reading = True
        self.network.run(8)
        self.assertEqual(client.received, b"")

    def test_a_target_that_never_reads_is_a_504(self):
        client = self.uploading(inactivity_timeout="2m")
        self.network.run(100)
        self.assertEqual(client.received, b"")
        self.network.run(40)
        self.assertEqual(parts(client.received)[0], 504)
