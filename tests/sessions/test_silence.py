"""Clients that send nothing, on a port with routes by name: a server that speaks first can serve them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.wire import client_hello, proxy_v1
from tests.sessions.memory_proxy import MemoryProxy, route

_NAMED = route("web", match={"domains": ["a.example"]})
_MAIL = route("mail", hosts="10.0.0.2", fallback=True, silence="3s")
_OUTER = "198.51.100.9"


class SilenceTests(SynchronousTestCase):
    def proxy(self, *routes, **more):
        return MemoryProxy(self, routes=list(routes) or [_NAMED, _MAIL], **more)

    def test_silent_client_goes_to_the_fallback_after_its_time(self):
        proxy = self.proxy()
        client = proxy.client()
        proxy.pass_time(2.8)
        self.assertEqual(proxy.network.dials, [])
        proxy.pass_time(0.4)
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")
        backend = proxy.backend()
        backend.write(b"220 mail")
        proxy.settle()
        client.write(b"EHLO a")
        proxy.settle()
        self.assertEqual((client.received, backend.received), (b"220 mail", b"EHLO a"))
        self.assertEqual((proxy.record.route, str(proxy.record.protocol)), ("mail", "tcp"))

    def test_client_that_sends_in_time_is_routed_by_it(self):
        proxy = self.proxy()
        client = proxy.client()
        proxy.pass_time(2.5)
        client.write(client_hello.build("a.example")[:1])
        proxy.pass_time(10)
        client.write(client_hello.build("a.example")[1:])
        proxy.settle()
        self.assertEqual(proxy.dialled(), "10.0.0.1:9000")

    def test_client_without_a_name_goes_to_the_fallback_at_once(self):
        proxy = self.proxy()
        proxy.client().write(client_hello.build(None))
        proxy.settle()
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_names_of_the_fallback_do_not_matter_to_a_silent_client(self):
        mail = route("mail", hosts="10.0.0.2", match={"domains": ["m.example"]}, fallback=True, silence="3s")
        proxy = self.proxy(_NAMED, mail)
        proxy.client()
        proxy.pass_time(3.2)
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_conditions_on_the_client_hold(self):
        """The first route that admits it takes it; without one it is refused as ever."""
        inner = route(
            "inner", hosts="10.0.0.2", match={"clientIp": ["192.0.2.1"]}, fallback=True, silence="1s"
        )
        other = route(
            "other", hosts="10.0.0.3", match={"clientIp": ["192.0.2.2"]}, fallback=True, silence="4s"
        )
        proxy = self.proxy(_NAMED, inner, other, initialDataTimeout="9s")
        for ip, host, after in (("192.0.2.1", "10.0.0.2", 1.2), ("192.0.2.2", "10.0.0.3", 4.2)):
            proxy.client(ip)
            proxy.pass_time(after)
            self.assertEqual(proxy.dialled(), f"{host}:9000")
        client = proxy.client("192.0.2.3")
        proxy.pass_time(8.5)
        self.assertFalse(client.ended)
        proxy.pass_time(1)
        self.assertTrue(client.ended)
        self.assertEqual((proxy.rejected(), len(proxy.network.dials)), ({"initial_data_timeout": 1}, 2))

    def test_shorter_initial_data_timeout_takes_its_place(self):
        proxy = self.proxy(_NAMED, _MAIL, initialDataTimeout="2s")
        proxy.client()
        proxy.pass_time(2.2)
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_time_begins_behind_the_proxy_header(self):
        proxy = self.proxy(_NAMED, _MAIL, proxyIPs=[_OUTER])
        client = proxy.client(_OUTER)
        proxy.pass_time(4)
        client.write(proxy_v1.build(("192.0.2.1", 1), ("203.0.113.9", 443)))
        proxy.pass_time(2.5)
        self.assertEqual(proxy.network.dials, [])
        proxy.pass_time(1)
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_client_that_leaves_meanwhile_is_not_refused(self):
        for end in ("fin", "rst"):
            proxy = self.proxy()
            getattr(proxy.client(), end)()
            proxy.settle()
            proxy.pass_time(4)
            self.assertEqual((proxy.network.dials, proxy.rejected()), ([], {}), end)
            proxy.assert_empty()

    def test_routes_without_silence_wait_as_ever(self):
        proxy = self.proxy(_NAMED, route("rest", hosts="10.0.0.2", fallback=True), initialDataTimeout="9s")
        client = proxy.client()
        proxy.pass_time(8.5)
        self.assertEqual((proxy.network.dials, client.ended), ([], False))
        proxy.pass_time(1)
        self.assertEqual(proxy.rejected(), {"initial_data_timeout": 1})
