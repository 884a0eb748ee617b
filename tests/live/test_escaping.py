"""Bytes of a client are escaped in the log, in JSON and in metrics, so that they cannot forge or break them."""

from __future__ import annotations

import socket

from smartproxy.wire import proxy_v2
from smartproxy.wire.proxy_header import Tlv
from tests.live.backends import collect, echo
from tests.live.case import LiveCase, route

#: A forged log line, a terminal escape, NUL, 8-bit bytes, and characters that end a label or string.
EVIL = b'evil\r\n2026-01-01 forged line\x1b[31m\x00\xff\xc3\xa9"\\}'


def _hello(name):
    """A ClientHello with any bytes as its server name."""
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    names = len(entry).to_bytes(2, "big") + entry
    extensions = b"\x00\x00" + len(names).to_bytes(2, "big") + names
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(extensions).to_bytes(2, "big") + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


class EscapingTests(LiveCase):
    def setUp(self):
        super().setUp()
        self.front = self.port()
        self.running = self.proxy(
            route("named", self.front, self.backend(echo), domains=["*.live.test"]),
            route("rest", self.front, self.backend(collect)),
            proxyIPs=["127.0.0.2"],
        )

    def say(self, words, source=None):
        client = self.connect(self.front, source=source)
        client.sendall(words)
        return client

    def assert_clean(self):
        """Assert that the log and all output are printable ASCII without forged lines, and that JSON is valid."""
        shown = self.running.ask("/api/v1/connections")[1] + self.running.ask("/metrics")[1]
        log = self.running.log.read_bytes()
        for text in (shown, log):
            self.assertNotIn(b"\x1b", text)
            self.assertNotIn(b"\x00", text)
            self.assertTrue(text.isascii())
        self.assertNotIn(b"\n2026-01-01 forged", shown + log)
        self.assertIsInstance(self.running.connections, list)

    def test_names_paths_and_http_headers_are_escaped(self):
        """In SNI, Host, the path and other header fields."""
        for words in (
            _hello(EVIL + b".live.test"),
            _hello(b"a\x00.live.test"),
            b"GET / HTTP/1.1\r\nHost: " + EVIL + b".live.test\r\n\r\n",
            b"GET /" + EVIL + b" HTTP/1.1\r\nHost: a.live.test\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a.live.test\r\nUser-Agent: " + EVIL + b"\r\n\r\n",
        ):
            with self.subTest(words=words[:40]):
                opened = self.running.metrics["totals"]["connections"]
                client = self.say(words)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
                client.close()
                self.assertGreater(self.running.metrics["totals"]["connections"], opened)
                self.assert_clean()

    def test_tlvs_are_escaped(self):
        """A trusted peer may pass on what a client sent."""
        tlvs = [Tlv(0x02, EVIL), Tlv(0x05, EVIL), Tlv(0xE0, EVIL)]
        header = proxy_v2.build(("192.0.2.1", 1), ("192.0.2.2", 2), tlvs=tlvs)
        client = self.say(header + _hello(b"a.live.test"), source="127.0.0.2")
        seen = self.running.the_connection(clientIp="192.0.2.1")
        self.assertEqual(seen["sni"], "a.live.test")
        self.assert_clean()
        client.close()

    def test_malformed_proxy_header_is_refused_and_escaped(self):
        """The log describes the refusal without the bytes received."""
        client = self.say(b"PROXY TCP4 " + EVIL, source="127.0.0.2")
        self.assert_gone(client)
        self.assertEqual(self.running.rejected("proxy_header_invalid"), 1)
        self.assert_clean()

    def test_metric_labels_come_from_the_configuration_only(self):
        """Labels made of clients' names would let them create series without bound."""
        before = len(self.running.ask("/metrics")[1].splitlines())
        for number in range(50):
            client = self.say(_hello(b"x%d.live.test" % number))
            self.read(client, 5)
            client.close()
        self.running.emptied()
        lines = self.running.ask("/metrics")[1].splitlines()
        self.assertFalse([line for line in lines if b"live.test" in line])
        self.assertLess(len(lines) - before, 100)  # the series of one route

    def test_admin_request_paths_are_escaped(self):
        """A DELETE request with an unknown path is logged, with its path escaped."""
        status, _ = self.running.ask("/api/v1/evil%0d%0aforged%1b", "DELETE")
        self.assertEqual(status, 404)
        self.assert_clean()
