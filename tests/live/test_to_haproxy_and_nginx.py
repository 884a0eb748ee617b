"""HAProxy and nginx behind us: they take the headers that we send, and answer with what they understood."""

from __future__ import annotations

from tests.live.backends import read_to_end
from tests.live.case import LiveCase, route
from tests.live.haproxy import haproxy
from tests.live.programs import needed

#: What HAProxy answers: client, where it had connected to, and the TLVs that it can show.
_TOLD = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"
_NGINX = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port";
    }}
}}
"""


class Told(LiveCase):
    """A client, us, and a peer that tells what it was told."""

    __test__ = False
    peer_port = 0

    def told(self, version, host="127.0.0.1"):
        """What the peer understood, as words, and the client's and our own end of its connection."""
        ours = self.port()
        target = {"host": "127.0.0.1", "port": self.peer_port}
        action = {"sendProxyProtocol": version}
        proxy = self.proxy(route("named", ours, target, action=action, domains=["live.test"]))
        client = self.connect(ours, host)
        name = client.getsockname()[:2]
        client.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\n\r\n")
        answer = read_to_end(client).decode()
        self.assertTrue(answer.startswith("HTTP/1.1 200 "), answer)
        client.close()
        proxy.emptied()
        body = answer.partition("\r\n\r\n")[2]
        return body.split(), name, (host, ours)

    def assert_told(self, words, client, ours):
        """Who the client is, and where it had connected to."""
        self.assertEqual(words[:4], [client[0], str(client[1]), ours[0], str(ours[1])])


class HaproxyTests(Told):
    __test__ = True

    def setUp(self):
        super().setUp()
        self.peer_port = self.port()
        reply = f'http-request return status 200 content-type text/plain lf-string "{_TOLD}"'
        haproxy(
            self,
            self.peer_port,
            f"frontend f\n mode http\n bind 127.0.0.1:{self.peer_port} accept-proxy\n {reply}",
        )

    def test_version_1(self):
        self.assert_told(*self.told(1))

    def test_version_1_over_ipv6(self):
        self.assert_told(*self.told(1, host="::1"))

    def test_version_2_with_tlvs(self):
        """HAProxy checks the CRC32c, too: it would close the connection if that were wrong."""
        sending = {"version": 2, "tlvs": ["authority", "uniqueId", "crc32c"]}
        words, client, ours = self.told(sending)
        self.assert_told(words, client, ours)
        self.assertEqual(words[4], "live.test")
        self.assertRegex(words[5], "^[0-9a-f]{16}-1$")

    def test_version_2_with_tlvs_over_ipv6(self):
        sending = {"version": 2, "tlvs": ["authority", "uniqueId", "crc32c"]}
        words, client, ours = self.told(sending, host="::1")
        self.assert_told(words, client, ours)
        self.assertEqual(words[4], "live.test")


class NginxTests(Told):
    __test__ = True

    def setUp(self):
        super().setUp()
        program = needed("nginx")
        self.peer_port = self.port()
        text = _NGINX.format(directory=self.directory, port=self.peer_port)
        file = self.file("nginx.conf", text)
        self.program(program, "-c", file, "-p", self.directory).listens(self.peer_port)

    def test_version_1(self):
        self.assert_told(*self.told(1))

    def test_version_1_over_ipv6(self):
        self.assert_told(*self.told(1, host="::1"))

    def test_version_2_with_tlvs(self):
        self.assert_told(*self.told({"version": 2, "tlvs": ["authority", "uniqueId", "crc32c"]}))

    def test_version_2_over_ipv6(self):
        self.assert_told(*self.told(2, host="::1"))
