"""HAProxy and nginx as TLS clients, and load generators: nothing fails, and each connection is counted."""

from __future__ import annotations

import re

from tests.live.backends import echo, page, read_to_end
from tests.live.haproxy import haproxy
from tests.live.nginx import nginx
from tests.live.programs import needed, run
from tests.live.terminating import NAME, TlsCase
from tests.live.waiting import until


class FrontCase(TlsCase):
    def counted(self, proxy, name, **labels):
        """Value of an exported counter."""
        _, text = proxy.ask("/metrics")
        told = ",".join(f'{key}="{value}"' for key, value in labels.items())
        name += f"{{{told}}}" if told else ""
        (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text.decode(), re.MULTILINE)
        return float(found)


class HaproxyTests(FrontCase):
    def test_haproxy_as_a_tls_client_ends_cleanly(self):
        """HAProxy receives plain bytes and sends them over TLS; both ends are clean."""
        proxy, _, ours = self.terminator(echo)
        theirs = self.port()
        haproxy(
            self,
            theirs,
            f"listen l\n bind 127.0.0.1:{theirs}\n"
            f" server s 127.0.0.1:{ours} ssl verify required ca-file {self.authority.file} sni str({NAME})"
            f" verifyhost {NAME}",
        )
        client = self.connect(theirs)
        self.assert_echoes(client)
        client.shutdown(1)
        self.assertEqual(read_to_end(client), b"")
        proxy.emptied()
        until(lambda: proxy.closed("normal") == 1, "an end in order")
        self.assertEqual(proxy.moved, (5, 5))


class NginxTests(FrontCase):
    """nginx receives plain HTTP, and verifies the proxy's certificate."""

    def before_us(self, name):
        """A proxy behind nginx, which sends ``name`` as SNI; and nginx's responses to two requests."""
        proxy, _, ours = self.terminator(page("inside"))
        theirs = self.port()
        nginx(
            self,
            theirs,
            f"listen 127.0.0.1:{theirs}",
            "location / { "
            f"proxy_pass https://127.0.0.1:{ours}; proxy_ssl_server_name on; proxy_ssl_name {name};"
            f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {self.authority.file};"
            "proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_http_version 1.1; }",
        )
        curl = needed("curl"), "-sS", "-w", " %{http_code}", f"http://127.0.0.1:{theirs}/"
        return proxy, [run(*curl).stdout for _ in range(2)]

    def test_nginx_is_served_and_resumes_its_session(self):
        proxy, answers = self.before_us(NAME)
        self.assertEqual(answers, ["inside 200"] * 2)
        proxy.emptied()
        self.assertEqual(
            self.counted(proxy, "smartproxy_tls_handshakes_total", result="ok", version="TLSv1.3"), 2
        )
        self.assertEqual(self.counted(proxy, "smartproxy_tls_resumed_total"), 1)

    def test_nginx_asking_for_an_unknown_name_answers_502(self):
        """The proxy refuses the handshake, which nginx reports to its client."""
        proxy, answers = self.before_us("two.test")
        self.assertEqual([answer[-4:] for answer in answers], [" 502"] * 2)
        self.assertEqual(proxy.rejected("tls_error"), 2)


class LoadTests(FrontCase):
    """As many connections as a load generator makes in a second or two, in sequence or 20 at a time."""

    def setUp(self):
        super().setUp()
        self.running, self.target, self.front = self.terminator(page("inside"))

    def test_s_time_full_and_resumed_handshakes_succeed(self):
        """Each connection fetches the page, and resumptions are counted; the rate is not tested.

        Each run takes 1 s, the shortest duration that ``s_time`` accepts.
        """
        certain = "-CAfile", self.authority.file, "-verify", "1"
        where = "-connect", f"127.0.0.1:{self.front}"
        made = 0
        for version, sessions in (("1_3", "new"), ("1_2", "reuse")):
            with self.subTest(version=version, sessions=sessions):
                resumed = self.counted(self.running, "smartproxy_tls_resumed_total")
                done = run(
                    needed("openssl"), "s_time", *where, *certain, "-time", "1", "-www", "/",
                    f"-tls{version}", f"-{sessions}",
                )  # fmt: skip
                self.assertEqual(done.returncode, 0, done.stderr)
                count, size = map(
                    int, re.findall(r"(\d+) connections in \d+ real.* (\d+) bytes", done.stdout)[0]
                )
                self.assertGreater(count, 0)
                self.assertEqual(
                    size, len(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\ninside")
                )
                taken_up = self.counted(self.running, "smartproxy_tls_resumed_total") - resumed
                self.assertEqual(taken_up, count if sessions == "reuse" else 0)
                made += count + (sessions == "reuse")  # the first one creates the session
        self.running.emptied()
        self.assertEqual(self.target.accepted, made)
        self.assertEqual(self.counted(self.running, "smartproxy_connections_total", route="one"), made)

    def test_ab_with_20_concurrent_clients_has_no_failure(self):
        done = run(needed("ab"), "-q", "-n", "500", "-c", "20", f"https://127.0.0.1:{self.front}/")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"Complete requests: +500\nFailed requests: +0\n")
        self.running.emptied()
        until(lambda: self.running.closed("normal") == 500, "each of them an end in order")
