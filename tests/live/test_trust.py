"""Which PROXY header is accepted: the first one of a trusted peer."""

from __future__ import annotations

import socket

from smartproxy.wire import proxy_v2
from smartproxy.wire.proxy_header import Tlv
from tests.live.backends import announced, banner, collect
from tests.live.case import LiveCase, route
from tests.live.waiting import until

_BANNER = b"SSH-2.0-live\r\n"
STRANGER, TRUSTED = "127.0.0.66", "127.0.0.2"
V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 2222\r\n"
V2 = proxy_v2.build(("2001:db8::1", 1), ("2001:db8::2", 2), tlvs=[Tlv(0xE0, b"ours\x00\xff")], crc32c=True)


class TrustTests(LiveCase):
    def listening(self, **keys):
        front = self.port()
        self.behind = self.backend(collect)
        return self.proxy(route("all", front, self.behind), proxyIPs=[TRUSTED], **keys), front

    def said(self, front, source, words):
        """The bytes that the backend reads of a client that sends ``words`` and a FIN."""
        client = self.connect(front, source=source)
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        until(lambda: self.behind.seen, "the backend's bytes")
        client.close()
        return self.behind.seen.pop()

    def test_header_of_an_untrusted_peer_is_payload(self):
        """In either version, whatever ``acceptProxyProtocol`` is; otherwise any client could claim another address."""
        for mode in (True, "require", False):
            with self.subTest(acceptProxyProtocol=mode):
                proxy, front = self.listening(acceptProxyProtocol=mode)
                for header in (V1, V2):
                    client = self.connect(front, source=STRANGER)
                    client.sendall(header + b"words")
                    seen = proxy.the_connection(clientIp=STRANGER)
                    self.assertEqual((seen["peerIp"], seen["proxyProtocol"]), (STRANGER, 0))
                    client.close()
                    proxy.emptied()
                    self.assertEqual(self.behind.seen.pop(), header + b"words")
                self.assertNotIn("192.0.2.1", proxy.printed)

    def test_missing_required_header_is_refused(self):
        """Whether the peer sends other bytes, or nothing until ``proxyHeaderTimeout``."""
        proxy, front = self.listening(acceptProxyProtocol="require", proxyHeaderTimeout="300ms")
        client = self.connect(front, source=TRUSTED)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        self.assert_gone(client)
        self.assertEqual(proxy.rejected("proxy_header_missing"), 1)
        self.assert_refused(front, source=TRUSTED)
        self.assertEqual(proxy.rejected("proxy_header_missing"), 2)
        self.assertEqual(self.said(front, TRUSTED, V1 + b"words"), b"words")

    def test_second_header_is_payload(self):
        """It was sent by the announced client, and must not replace its address."""
        proxy, front = self.listening()
        for first, second in ((V1, V2), (V2, V1), (V1, V1)):
            self.assertEqual(self.said(front, TRUSTED, first + second + b"words"), second + b"words")
        self.assertEqual(proxy.metrics["proxyHeaders"]["1"]["ok"], 2)
        self.assertEqual(proxy.metrics["proxyHeaders"]["2"]["ok"], 1)

    def test_malformed_header_is_refused(self):
        """An invalid line, a wrong checksum, and a header cut off by a FIN."""
        wrong_sum = V2[:-1] + bytes([V2[-1] ^ 1])
        broken = [b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", wrong_sum, V1[:20], V2[:20]]
        proxy, front = self.listening()
        for count, header in enumerate(broken, 1):
            client = self.connect(front, source=TRUSTED)
            client.sendall(header)
            client.shutdown(socket.SHUT_WR)
            self.assert_gone(client)
            until(lambda: proxy.rejected("proxy_header_invalid") == count, f"{header!r} refused")  # noqa: B023 - this round's
        self.assertEqual(self.behind.seen, [])

    def test_header_in_single_bytes_is_read(self):
        """Each byte is a segment, in both versions; the TLVs arrive byte for byte."""
        front = self.port()
        backend = self.backend(announced)
        sending = {"version": 2, "tlvs": ["passThrough"]}
        self.proxy(route("all", front, backend, action={"sendProxyProtocol": sending}), proxyIPs=[TRUSTED])
        for header, source in ((V1, ("192.0.2.1", 1111)), (V2, ("2001:db8::1", 1))):
            client = self.connect(front, source=TRUSTED)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header:
                client.sendall(bytes([byte]))
            self.assert_echoes(client)
            self.assertEqual(backend.seen[-1][0].source, source)
        self.assertEqual(backend.seen[-1][0].tlvs, (Tlv(0xE0, b"ours\x00\xff"),))

    def test_a_late_one_is_refused(self):
        """Behind a connection that was taken as direct and is relayed already; other bytes are payload."""
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                front, backend = self.port(), self.backend(banner)
                proxy = self.proxy(
                    route("all", front, backend),
                    proxyIPs=[TRUSTED],
                    proxyHeaderTimeout="200ms",
                    acceleration=acceleration,
                )
                for header in (V1, V2):
                    client = self.connect(front, source=TRUSTED)
                    self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
                    client.sendall(header[:3])
                    client.sendall(header[3:])
                    self.assert_gone(client)
                until(lambda: proxy.rejected("proxy_header_timeout") == 2, "both refused")  # noqa: B023 - this round's
                client = self.connect(front, source=TRUSTED)
                self.assertEqual(self.read(client, len(_BANNER)), _BANNER)
                self.assert_echoes(client, b"PROXIES and\r\n\r\n\x00\r\nQUITE other words" * 1000)
                client.close()
                proxy.emptied()
