"""The names that a record has of its connection: SNI and Host. With terminated TLS: ``test_tls_routes``."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import client_hello
from tests.sessions.memory_proxy import MemoryProxy, route

BY_NAME = route(match={"domains": ["a.example"]})


class NamesTests(SynchronousTestCase):
    def record_after(self, first_bytes):
        proxy = MemoryProxy(self, routes=[BY_NAME])
        proxy.client().write(first_bytes)
        proxy.settle()
        return proxy.record

    def test_record_of_plain_http_has_host_and_no_sni(self):
        """``sni`` is the ClientHello's alone: a reader of the access log must be able to tell the two apart."""
        record = self.record_after(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertEqual((record.host, record.sni), ("a.example", None))

    def test_record_of_passed_through_tls_has_sni_and_no_host(self):
        record = self.record_after(client_hello.build("a.example"))
        self.assertEqual((record.host, record.sni), (None, "a.example"))
