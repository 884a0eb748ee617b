"""Pages of the configuration for answers that the proxy makes itself."""

from __future__ import annotations

import json
from pathlib import Path

from smartproxy import Route
from tests.http.case import GET, AnswerCase, http_route, parts

HEAD = GET.replace(b"GET", b"HEAD")


class ErrorPageTests(AnswerCase):
    def setUp(self):
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "sorry.html").write_text("<h1>Sorry</h1>")
        (self.folder / "other.json").write_text('{"sorry": true}')
        action = {
            "targets": [{"host": "10.9.9.9", "port": 1}],
            "error_pages": {502: str(self.folder / "sorry.html")},
        }
        self.network.stop(self.proxy)
        other = str(self.folder / "other.json")
        self.start(
            Route(name="x", match={"ports": 81, "methods": ["GET"], "protocol": "http"}, action=action),
            http_route("y", 81, path="/y"),
            defaults={"error_pages": {"502": other, "404": other, 400: other}},
        )

    def test_a_route_has_its_own_page_and_those_of_defaults(self):
        status, fields, body, client = self.ask(port=81)
        self.assertEqual((status, body), (502, b"<h1>Sorry</h1>"))
        self.assertEqual(fields["Content-Type"], "text/html; charset=utf-8")
        before = len(client.received)
        client.write(GET.replace(b"GET", b"PUT"))
        self.network.settle()
        status, fields, body = parts(client.received[before:])
        self.assertEqual(
            (status, fields["Content-Type"], body), (404, "application/json", b'{"sorry": true}')
        )
        before = len(client.received)
        client.write(b"GET / HTTP/1.1\r\n\r\n")
        self.network.settle()
        self.assertEqual(parts(client.received[before:])[2], b'{"sorry": true}')

    def test_json_is_given_to_who_asks_for_it_all_the_same(self):
        request = GET[:-2] + b"Accept: application/json\r\n\r\n"
        self.assertEqual(json.loads(self.ask(request, 81)[2]), {"error": "Bad Gateway"})

    def test_head_gets_the_length_of_the_page(self):
        client = self.connect(81, GET)
        before = len(client.received)
        client.write(HEAD)
        self.network.settle()
        _, fields, body = parts(client.received[before:])
        self.assertEqual((fields["Content-Length"], body), ("15", b""))

    def test_an_answer_of_a_target_is_passed_on(self):
        client = self.connect(81, GET.replace(b"GET / ", b"POST /y "))
        answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno"
        self.answer(answer)
        self.assertEqual(client.received, answer)

    def test_a_page_that_changes_is_used_without_a_reload(self):
        (self.folder / "sorry.html").write_text("<h1>Back soon</h1>")
        self.network.run(15)
        self.assertEqual(self.ask(port=81)[2], b"<h1>Back soon</h1>")

    def test_a_page_that_is_lost_keeps_its_content(self):
        (self.folder / "sorry.html").unlink()
        self.network.run(15)
        self.assertEqual(self.ask(port=81)[2], b"<h1>Sorry</h1>")
