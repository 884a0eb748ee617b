"""Two smartproxies in a chain with a PROXY header between them: the inner one knows the real client."""

from __future__ import annotations

from tests.live.backends import announced
from tests.live.case import LiveCase, route
from tests.live.waiting import until

REAL, OTHER = "127.0.0.9", "127.0.0.10"


class ChainTests(LiveCase):
    def chain(self, version, **inner_keys):
        """Client, outer proxy, inner proxy with ``inner_keys``, backend."""
        backend = self.backend(announced)
        self.outside, inside = self.port(), self.port()
        action = {"sendProxyProtocol": version}
        onward = {"host": "127.0.0.1", "port": inside}
        inner, _ = self.proxies(
            {
                "routes": [route("inner", inside, backend, action=action)],
                "proxyIPs": ["127.0.0.1"],
                **inner_keys,
            },
            {"routes": [route("outer", self.outside, onward, action=action)]},
        )
        return inner, backend

    def test_backend_behind_two_proxies_sees_the_client(self):
        """Through two hops, in either version, over either family of the outer hop."""
        for version in (1, 2):
            with self.subTest(version=version):
                _, backend = self.chain(version)
                client = self.connect(self.outside, source=REAL)
                self.assert_echoes(client)
                header, _ = backend.seen[-1]
                self.assertEqual(header.source, client.getsockname())
                self.assertEqual(header.destination, client.getpeername())

    def test_inner_proxy_limits_by_the_announced_client(self):
        """All its connections come from the outer proxy; ``maxConnectionsPerIP`` counts the clients behind it."""
        inner, _ = self.chain(2, maxConnectionsPerIP=2)
        for _ in range(2):
            self.assert_echoes(self.connect(self.outside, source=REAL))
        self.assert_refused(self.outside, source=REAL)
        self.assertEqual(inner.rejected("ip_limit"), 1)
        self.assert_echoes(self.connect(self.outside, source=OTHER))
        self.assertEqual(inner.metrics["connections"]["byIP"], {REAL: 2, OTHER: 1})

    def test_inner_proxy_logs_the_announced_client(self):
        """A refusal names the real client, not the outer proxy."""
        inner, _ = self.chain(2, maxConnectionsPerIP=1)
        self.assert_echoes(self.connect(self.outside, source=REAL))
        self.assert_refused(self.outside, source=REAL)
        until(lambda: f"ip_limit ({REAL})" in inner.printed, "the refusal's line")

    def test_inner_proxy_applies_lists_to_the_announced_client(self):
        """Block lists compare the announced address, not the outer proxy's."""
        inner, _ = self.chain(2, defaults={"security": {"ipBlockList": [REAL]}})
        self.assert_refused(self.outside, source=REAL)
        self.assert_echoes(self.connect(self.outside, source=OTHER))
        self.assertEqual(inner.rejected("ip_blocked"), 1)
