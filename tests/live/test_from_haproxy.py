"""HAProxy in front: it announces the client, and the proxy and the backend behind it see that client."""

from __future__ import annotations

import socket
import threading

from smartproxy.wire import proxy_tlv, proxy_v2
from smartproxy.wire.proxy_tlv import SslClient
from tests.live.backends import announced, read_header
from tests.live.case import LiveCase, route
from tests.live.certificates import Authority
from tests.live.haproxy import haproxy
from tests.live.waiting import until

CLIENT = "127.0.0.9"
TRUSTED = ["127.0.0.1"]


def listening_in(port):
    """A backend that stores the PROXY header it receives, and relays everything to ``port``."""

    def serve(backend, sock):
        _, raw, rest = read_header(sock)
        backend.seen.append(raw)
        with socket.create_connection(("127.0.0.1", port), 10) as onward:
            onward.sendall(raw + rest)
            back = threading.Thread(target=_copy, args=(onward, sock))
            back.start()
            _copy(sock, onward)
            back.join()

    return serve


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class FromHaproxyTests(LiveCase):
    def announce(self, sending, version):
        """Relay through HAProxy (with ``sending``), smartproxy and a backend, and check the client seen by each."""
        backend = self.backend(announced)
        ours, theirs = self.port(), self.port()
        proxy = self.proxy(
            route("all", ours, backend, action={"sendProxyProtocol": version}), proxyIPs=TRUSTED
        )
        haproxy(
            self,
            theirs,
            f"listen l\n bind 127.0.0.1:{theirs}\n server s 127.0.0.1:{ours} source 127.0.0.1 {sending}",
        )
        client = self.connect(theirs, source=CLIENT)
        self.assert_echoes(client)
        header, _ = backend.seen[-1]
        self.assertEqual(header.version, version)
        self.assertEqual(header.source, client.getsockname())
        self.assertEqual(header.destination, ("127.0.0.1", theirs))
        seen = proxy.the_connection(clientIp=CLIENT)
        self.assertEqual(seen["clientPort"], client.getsockname()[1])
        self.assertEqual(seen["peerIp"], "127.0.0.1")
        self.assertEqual(seen["bytesReceived"], len(b"words"))
        return proxy, seen

    def test_version_1_header_announces_the_client(self):
        """``send-proxy`` announces the client, which is announced to the backend in turn."""
        proxy, seen = self.announce("send-proxy", 1)
        self.assertEqual(seen["proxyProtocol"], 1)
        self.assertGreaterEqual(proxy.metrics["proxyHeaders"]["1"]["ok"], 1)

    def test_version_2_header_announces_the_client(self):
        """``send-proxy-v2`` announces the client, which is announced to the backend in turn."""
        proxy, seen = self.announce("send-proxy-v2", 2)
        self.assertEqual(seen["proxyProtocol"], 2)
        self.assertGreaterEqual(proxy.metrics["proxyHeaders"]["2"]["ok"], 1)

    def test_health_check_with_local_header_is_not_refused(self):
        """``check-send-proxy`` sends LOCAL, which announces no client: the peer itself is the client."""
        backend = self.backend(announced)
        ours, theirs = self.port(), self.port()
        proxy = self.proxy(route("all", ours, backend, action={"sendProxyProtocol": 2}), proxyIPs=TRUSTED)
        haproxy(
            self,
            theirs,
            f"listen l\n bind 127.0.0.1:{theirs}\n"
            f" server s 127.0.0.1:{ours} send-proxy-v2 check inter 50ms check-send-proxy source 127.0.0.1",
        )
        until(lambda: proxy.metrics["proxyHeaders"]["2"]["ok"] >= 2, "two health checks")
        self.assertEqual({reason for reason, count in proxy.metrics["rejected"].items() if count}, set())


class TlvMatchTests(LiveCase):
    """HAProxy terminates TLS, so the name that a client asked for is in its header only."""

    def test_route_is_chosen_by_the_authority(self):
        authority = Authority(self.directory)
        ours, theirs = self.port(), self.port()
        backends = {name: self.backend(announced) for name in ("front.test", "other")}
        custom = {"version": 2, "customTlvs": {"0xE0": "edge-1"}}
        proxy = self.proxy(
            route("other", ours, backends["other"]),
            route(
                "front", ours, backends["front.test"], proxyTlv={"authority": "*.test"},
                action={"sendProxyProtocol": custom},
            ),
            proxyIPs=TRUSTED,
        )  # fmt: skip
        haproxy(
            self,
            theirs,
            f"listen l\n bind 127.0.0.1:{theirs} ssl crt {authority.certificate('front.test')}\n"
            f" server s 127.0.0.1:{ours} send-proxy-v2 proxy-v2-options authority",
        )
        context = authority.client()
        context.check_hostname = False
        for name, backend in backends.items():
            client = context.wrap_socket(self.connect(theirs), server_hostname=name)
            self.addCleanup(client.close)
            self.assert_echoes(client)
            self.assertEqual(len(backend.seen), 1, name)
        header, _ = backends["front.test"].seen[0]
        self.assertEqual([tuple(tlv) for tlv in header.tlvs], [(0xE0, b"edge-1")])
        self.assertEqual(proxy.the_connection(route="front")["proxyTlvs"], {"authority": "front.test"})


class TlvTests(LiveCase):
    """HAProxy terminates TLS and announces it in TLVs; ``passThrough`` sends them to the backend unchanged."""

    OPTIONS = "send-proxy-v2-ssl-cn proxy-v2-options crc32c,unique-id,authority"

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)
        self.inner = self.backend(announced)
        ours, theirs = self.port(), self.port()
        sending = {"version": 2, "tlvs": ["passThrough", "crc32c"]}
        self.running = self.proxy(
            route("all", ours, self.inner, action={"sendProxyProtocol": sending}), proxyIPs=TRUSTED
        )
        self.ear = self.backend(listening_in(ours))
        certificate = self.authority.certificate("front.test")
        haproxy(
            self,
            theirs,
            f"listen l\n unique-id-format live-%ci-%cp\n"
            f" bind 127.0.0.1:{theirs} ssl crt {certificate} ca-file {self.authority.file} verify optional\n"
            f" server s 127.0.0.1:{self.ear.port} {self.OPTIONS}",
        )
        plain = self.connect(theirs, source=CLIENT)
        self.name = plain.getsockname()
        context = self.authority.client()
        context.load_cert_chain(self.authority.certificate("robot"))
        self.client = context.wrap_socket(plain, server_hostname="front.test")
        self.addCleanup(self.client.close)
        self.assert_echoes(self.client)

    def test_tlvs_arrive_byte_for_byte(self):
        """The TLVs that HAProxy sent and the backend received are equal, except for each hop's own checksum."""
        said = self.header_of(self.ear.seen[-1])
        told, _ = self.inner.seen[-1]
        self.assertEqual(told.source, self.name)
        kinds = {tlv.type for tlv in said.tlvs}
        self.assertLessEqual(
            {
                proxy_tlv.PP2_TYPE_AUTHORITY,
                proxy_tlv.PP2_TYPE_CRC32C,
                proxy_tlv.PP2_TYPE_UNIQUE_ID,
                proxy_tlv.PP2_TYPE_SSL,
            },
            kinds,
        )
        self.assertEqual(self.without_sum(told.tlvs), self.without_sum(said.tlvs))

        self.assert_they_mean_what_happened()

    def assert_they_mean_what_happened(self):
        """Assert name, identifier, TLS version and the client certificate's common name."""
        told, raw = self.inner.seen[-1]
        values = dict(told.tlvs)
        self.assertEqual(values[proxy_tlv.PP2_TYPE_AUTHORITY], b"front.test")
        self.assertEqual(values[proxy_tlv.PP2_TYPE_UNIQUE_ID], f"live-{self.name[0]}-{self.name[1]}".encode())
        tls = proxy_tlv.parse_ssl(values[proxy_tlv.PP2_TYPE_SSL])
        self.assertEqual(tls.client, SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS)
        self.assertEqual((tls.verify, tls.cn), (0, b"robot"))
        self.assertEqual(tls.version, b"TLSv1.3")
        self.assertEqual(raw[-7:-4], b"\x03\x00\x04")  # this hop's checksum, which the parser has verified

    def test_tlvs_are_shown_in_the_api(self):
        seen = self.running.the_connection(clientIp=CLIENT)["proxyTlvs"]
        self.assertEqual(
            (seen["authority"], seen["uniqueId"]), ("front.test", f"live-{self.name[0]}-{self.name[1]}")
        )
        self.assertIn("verify=0 version=TLSv1.3", seen["ssl"])
        self.assertIn("cn=robot", seen["ssl"])

    def header_of(self, raw):
        return proxy_v2.parse(raw).value

    def without_sum(self, tlvs):
        return [tlv for tlv in tlvs if tlv.type != proxy_tlv.PP2_TYPE_CRC32C]
