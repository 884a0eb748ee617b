"""HAProxy and nginx behind us: they take the headers that we send, and answer with what they understood."""

from __future__ import annotations

from tests.live.backends import read_to_end
from tests.live.case import LiveCase, route
from tests.live.haproxy import haproxy
from tests.live.nginx import nginx

#: What HAProxy answers: client, where it had connected to, and the TLVs that it can show.
_TOLD = "%[src] %[src_port] %[dst] %[dst_port] %[fc_pp_authority] %[fc_pp_unique_id]"
_TLVS = {"version": 2, "tlvs": ["authority", "uniqueId", "crc32c"]}
_SENDING = (1, 2, _TLVS)


class ToldTests(LiveCase):
    """A client, us, and a peer that tells what it was told: with each header, over both families."""

    def test_haproxy(self):
        """It checks the CRC32c, too, and would close the connection if that were wrong."""
        port = self.port()
        reply = f'http-request return status 200 content-type text/plain lf-string "{_TOLD}"'
        haproxy(self, port, f"frontend f\n mode http\n bind 127.0.0.1:{port} accept-proxy\n {reply}")
        for sending, words in self.told_by(port):
            if sending is _TLVS:
                self.assertEqual(words[4], "live.test")
                self.assertRegex(words[5], "^[0-9a-f]{16}-[0-9a-f]+$")

    def test_nginx(self):
        port = self.port()
        told = "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port"
        nginx(self, port, f"listen 127.0.0.1:{port} proxy_protocol", f'return 200 "{told}"')
        self.assertEqual(len(list(self.told_by(port))), 2 * len(_SENDING))

    def told_by(self, port):
        """What the peer understood, in words: the client's own end of its connection, and ours."""
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
