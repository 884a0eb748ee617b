"""Address lists in files, fallbacks and ALPN on the whole path of a connection."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.files.watch import POLL_INTERVAL, SETTLE_TIME
from smartproxy.wire import client_hello
from tests.sessions.memory_proxy import MemoryProxy, route


class AddressFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.file = folder / "list.txt"

    def change(self, proxy: MemoryProxy, text: str) -> None:
        self.file.write_text(text)
        proxy.pass_time(POLL_INTERVAL + 3 * SETTLE_TIME)

    def test_changed_block_list_applies_to_the_next_connection(self) -> None:
        self.file.write_text("# nobody yet\n")
        proxy = MemoryProxy(self, routes=[route(security={"ipBlockList": f"file:{self.file}"})])
        self.assertFalse(proxy.client().ended)
        self.change(proxy, "192.0.2.0/24 # all of them\n")
        self.assertTrue(proxy.client().ended)
        self.change(proxy, "192.0.2.0/24\nnonsense\n")
        self.assertTrue(proxy.client().ended, "the former list is kept")
        self.change(proxy, "192.0.2.99\n")
        self.assertFalse(proxy.client().ended)
        self.assertEqual(proxy.rejected(), {"ip_blocked": 2})

    def test_emptied_allow_list_accepts_nobody(self) -> None:
        self.file.write_text("192.0.2.1\n")
        proxy = MemoryProxy(self, routes=[route(security={"ipAllowList": [f"file:{self.file}"]})])
        self.assertEqual([proxy.client(ip).ended for ip in ("192.0.2.1", "192.0.2.2")], [False, True])
        self.change(proxy, "")
        self.assertTrue(proxy.client().ended)

    def test_changed_list_of_trusted_peers_applies(self) -> None:
        self.file.write_text("")
        proxy = MemoryProxy(self, proxyIPs=f"file:{self.file}", acceptProxyProtocol="require")
        self.assertEqual(len(proxy.network.dials), 0)
        proxy.client()
        self.assertEqual(len(proxy.network.dials), 1)
        self.change(proxy, "192.0.2.1\n")
        client = proxy.client()
        self.assertEqual(len(proxy.network.dials), 1, "a header is awaited")
        client.write(b"PROXY TCP4 198.51.100.7 203.0.113.5 1 8080\r\n")
        proxy.settle()
        self.assertEqual(proxy.service.connections[-1].client.host, "198.51.100.7")


class HelloTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proxy = MemoryProxy(
            self,
            routes=[
                route("own", hosts="10.0.0.1", match={"domains": ["a.example"]}),
                route("h2", hosts="10.0.0.2", match={"domains": "*.example", "alpn": "h2"}),
                route("fallback", hosts="10.0.0.3", match={"domains": "c.example"}, fallback=True),
            ],
        )

    def dialled(self, name: str | None, *alpn: str) -> str | None:
        before = len(self.proxy.network.dials)
        self.proxy.client().write(client_hello.build(name, alpn))
        self.proxy.settle()
        return self.proxy.dialled() if len(self.proxy.network.dials) > before else None

    def test_route_is_chosen_by_name_alpn_and_as_fallback(self) -> None:
        for name, alpn, host in (
            ("a.example", (), "10.0.0.1"),
            ("b.example", ("http/1.1", "h2"), "10.0.0.2"),
            ("b.example", ("http/1.1",), None),
            ("c.example", (), "10.0.0.3"),
            (None, (), "10.0.0.3"),
            (None, ("h2",), "10.0.0.3"),
        ):
            self.assertEqual(self.dialled(name, *alpn), host and f"{host}:9000", (name, alpn))
        self.assertEqual(self.proxy.rejected(), {"no_route": 1})
