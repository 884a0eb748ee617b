"""HAProxy and nginx as backends: they accept the PROXY headers sent, and answer with the values they read."""

from __future__ import annotations

from tests.live.backends import read_to_end
from tests.live.case import LiveCase, route
from tests.live.haproxy import haproxy
from tests.live.nginx import nginx

#: HAProxy's response: the client, the address it connected to, and the TLVs that HAProxy can print.
_TOLD = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"
_TLVS = {"version": 2, "tlvs": ["authority", "uniqueId", "crc32c"]}
_SENDING = (1, 2, _TLVS)


class ToldTests(LiveCase):
    """A backend answers with the values of the PROXY header: with each version, over both address families."""

    def test_haproxy_reads_the_sent_header(self):
        """HAProxy also verifies the CRC32c, and would close the connection if it were wrong."""
        port = self.port()
        reply = f'http-request return status 200 content-type text/plain lf-string "{_TOLD}"'
        haproxy(self, port, f"frontend f\n mode http\n bind 127.0.0.1:{port} accept-proxy\n {reply}")
        for sending, words in self.told_by(port):
            if sending is _TLVS:
                self.assertEqual(words[4], "live.test")
                self.assertRegex(words[5], "^[0-9a-f]{16}-[0-9a-f]+$")

    def test_nginx_reads_the_sent_header(self):
        port = self.port()
        told = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
        nginx(self, port, f"listen 127.0.0.1:{port} proxy_protocol", f'return 200 "{told}"')
        self.assertEqual(len(list(self.told_by(port))), 2 * len(_SENDING))

    def told_by(self, port):
        """The values that the peer read, as words, compared with the client's own connection."""
        ports = [self.port() for _ in _SENDING]
        target = {"host": "127.0.0.1", "port": port}
        proxy = self.proxy(
            *(
                route(
                    f"to {each}", each, target, action={"sendProxyProtocol": sending}, domains=["live.test"]
                )
                for each, sending in zip(ports, _SENDING, strict=True)
            )
        )
        for ours, sending in zip(ports, _SENDING, strict=True):
            for host in ("127.0.0.1", "::1"):
                client = self.connect(ours, host)
                client.sendall(b"GET / HTTP/1.1\r\nHost: live.test\r\nConnection: close\r\n\r\n")
                answer = read_to_end(client).decode()
                self.assertTrue(answer.startswith("HTTP/1.1 200 "), answer)
                words = answer.partition("\r\n\r\n")[2].split()
                name, number = client.getsockname()[:2]
                self.assertEqual(words[:4], [name, str(number), host, str(ours)], sending)
                client.close()
                yield sending, words
        proxy.emptied()
