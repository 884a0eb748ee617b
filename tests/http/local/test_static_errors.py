"""Errors of files: they are answers of the proxy as all others, with the pages of the route, and in JSON."""

from __future__ import annotations

from pathlib import Path

from tests.http.local.case import LocalCase, local_route

JSON = "Accept: application/json\r\n"
RANGE = "Range: bytes=99-\r\n"


class ErrorPageTests(LocalCase):
    def serve(self, own=None, **pages):
        """:param own: the error pages of the route."""
        root = Path(self.mktemp())
        root.mkdir()
        (root / "a.txt").write_bytes(b"0123456789")
        self.network.stop(self.proxy)
        self.start(local_route(type="static", root=str(root), error_pages=own or {}), **pages)

    def written(self, content=b"SORRY"):
        """A page for each error."""
        page = Path(self.mktemp() + ".html")
        page.write_bytes(content)
        return dict.fromkeys((404, 405, 412, 416), str(page.absolute()))

    def pages(self):
        return {"defaults": {"error_pages": self.written()}}

    def errors(self, more=""):
        """The answers to a request for each error."""
        yield 404, self.ask("/none", more=more)
        yield 405, self.ask("/a.txt", more=more, method="POST")
        yield 412, self.ask("/a.txt", more=more + 'If-Match: "x"\r\n')
        yield 416, self.ask("/a.txt", more=more + RANGE)

    def test_each_has_the_page_of_its_status(self):
        self.serve(**self.pages())
        for status, answer in self.errors():
            self.assertEqual((answer.status, answer.content_type), (status, "text/html; charset=utf-8"))
            self.assertEqual((answer.body, answer.cache_control), (b"SORRY", "no-store"))

    def test_each_has_the_page_of_the_route_before_that_of_defaults(self):
        """The usual page of a site for what it does not have."""
        self.serve(self.written(b"OWN"), **self.pages())
        for status, answer in self.errors():
            self.assertEqual((answer.status, answer.body), (status, b"OWN"))

    def test_each_is_json_for_a_client_that_asks_for_it(self):
        self.serve(**self.pages())
        for status, answer in self.errors(JSON):
            self.assertEqual((answer.status, answer.content_type), (status, "application/json"))

    def test_each_is_a_line_of_text_without_a_page(self):
        self.serve()
        for status, answer in self.errors():
            self.assertEqual((answer.status, answer.content_type), (status, "text/plain; charset=utf-8"))

    def test_fields_of_the_status_stay(self):
        for pages in ({}, self.pages()):
            self.serve(**pages)
            for more in ("", JSON):
                client = self.connect(81)
                answer = self.ask("/a.txt", method="DELETE", more=more, client=client)
                self.assertEqual(answer.whole.count(b"\r\nAllow: GET, HEAD\r\n"), 1)
                self.assertEqual(answer.whole.count(b"\r\nAllow: "), 1)
                self.assertEqual(
                    self.ask("/a.txt", more=RANGE + more, client=client).content_range, "bytes */10"
                )

    def test_connect_ends_the_connection(self):
        """What follows may be meant for a tunnel."""
        self.serve()
        client = self.connect(81)
        answer = self.ask("a.example:443", method="CONNECT", client=client)
        self.assertEqual((answer.status, answer.connection), (405, "close"))
