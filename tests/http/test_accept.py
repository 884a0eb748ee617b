"""Errors as JSON, for clients that ask for it."""

from __future__ import annotations

import json

from tests.http.case import GET, AnswerCase


class JsonTests(AnswerCase):
    def kind(self, accept):
        _, fields, body, _ = self.ask(GET[:-2] + b"Expect: x\r\n" + accept + b"\r\n")
        return fields["Content-Type"], body

    def test_who_asks_for_json_gets_json(self):
        for accept in (
            b"Accept: application/json\r\n",
            b"Accept: application/json, text/plain, */*\r\n",
            b"Accept: text/html;q=0.5, application/json;q=0.9\r\n",
            b"accept: TEXT/html;q=0.1\r\nACCEPT: Application/JSON ; q=0.2\r\n",
            b"Accept: application/vnd.api+json\r\n",
            b"Accept: application/*, */*;q=0.1\r\n",
        ):
            found, body = self.kind(accept)
            self.assertEqual(found, "application/json", accept)
            self.assertEqual(json.loads(body), {"error": "Expectation Failed"})

    def test_others_get_text(self):
        for accept in (
            b"",
            b"Accept: */*\r\n",
            b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n",
            b"Accept: application/json;q=0.5, text/html\r\n",
            b"Accept: application/json;q=0\r\n",
            b"Accept: application/json;q=2\r\n",
            b"Accept: application/json;q=0.4, */*;q=0.5\r\n",
            b"Accept: ,;q=,\x80\r\n",
            b"Accept: " + b"x/y," * 5000 + b"application/json\r\n",
        ):
            self.assertEqual(
                self.kind(accept), ("text/plain; charset=utf-8", b"Expectation Failed\n"), accept
            )
