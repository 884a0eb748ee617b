"""Targets whose host is the name that the client asks for: what is dialed, and what never is."""

from __future__ import annotations

import json

from smartproxy import Settings
from tests.on_network import NetworkTestCase

NAMES = ["*.example.com", "only.internal", "192.0.2.99"]


def request(host):
    return b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n"


class ClientNameTests(NetworkTestCase):
    def begin(self, *, targets=({"host": "{domain}", "port": 9000},), domains=NAMES, port=80, **more):
        web = {
            "name": "web",
            "match": {"ports": port, "domains": domains},
            "action": {"targets": list(targets)},
        }
        text = json.dumps({"routes": [{**web, **more}], "acceleration": "off"})
        self.proxy = self.network.start(Settings.parse(text, "json"))
        self.addCleanup(lambda: self.network.stop(self.proxy))
        self.network.names["a.example.com"] = self.network.names["only.internal"] = ["10.0.0.5"]

    def rejected(self):
        return self.proxy.metrics.rejected()

    def shown(self):
        (target,) = self.proxy.groups.targets("web")
        return target

    def test_name_in_any_spelling_is_dialed(self):
        """Lower case, without port and final dot; A-labels are names as any other."""
        self.begin()
        self.network.names["xn--mnchen-3ya.example.com"] = ["10.0.0.5"]
        hosts = (
            "a.example.com",
            "A.Example.COM:8080",
            "a.example.com.",
            "only.internal",
            "xn--mnchen-3ya.example.com",
        )
        for number, host in enumerate(hosts, 1):
            self.connect(said=request(host))
            self.assertEqual(len(self.backend.connections), number, host)

    def test_one_entry_has_all_names(self):
        self.begin()
        self.connect(said=request("a.example.com"))
        self.connect(said=request("only.internal"))
        shown = self.shown()
        self.assertEqual(
            (shown.name, shown.address, shown.connections), ("{domain}:9000", "{domain}:9000", 2)
        )

    def test_names_outside_of_the_domains_are_not_dialed(self):
        """No route takes them: not even one that is a part of another name, or an address."""
        self.begin(domains=["*.example.com", "only.internal"])
        for host in ("example.com", "evil.test", "a.example.com.evil.test", "10.0.0.5", "[::1]", "localhost"):
            client = self.connect(said=request(host))
            self.network.run(3)
            self.assertTrue(client.gone, host)
        self.assertEqual((self.backend.connections, self.rejected()["no_route"]), ([], 6))

    def test_address_is_refused_even_if_it_is_in_domains(self):
        self.begin()
        self.network.backend("192.0.2.99", 9000)
        self.connect(said=request("192.0.2.99"))
        self.assertEqual(self.rejected()["upstream_unreachable"], 1)
        self.begin(domains=["*"], port=81)
        self.connect(81, said=request("10.0.0.5"))
        self.assertEqual((self.rejected()["upstream_unreachable"], self.backend.connections), (1, []))

    def test_silent_client_of_a_fallback_is_refused(self):
        self.begin(fallback=True, silence="1s")
        client = self.connect()
        self.network.run(4)
        self.assertTrue(client.gone)
        self.assertEqual((self.rejected()["upstream_unreachable"], self.backend.connections), (1, []))

    def test_client_without_a_name_gets_the_next_target(self):
        both = [{"host": host, "port": 9000} for host in ("{domain}", "10.0.0.5")]
        self.begin(targets=both, fallback=True, silence="1s")
        for number in (1, 2):
            self.connect()
            self.network.run(1.5)
            self.assertEqual(len(self.backend.connections), number)

    def test_name_that_fails_does_not_eject_the_entry(self):
        """It says nothing of the names that other clients ask for."""
        self.begin()
        self.network.names["down.example.com"] = ["10.0.0.66"]
        for host in ("down.example.com", "unknown.example.com"):
            self.connect(said=request(host))
        self.network.run(0.5)
        self.assertEqual(self.shown().state, "up")
        self.connect(said=request("a.example.com"))
        self.assertEqual(len(self.backend.connections), 1)
        (counted,) = self.proxy.groups.target_counts()
        results = {name: count for name, count in counted.results.items() if count}
        self.assertEqual(results, {"ok": 1, "refused": 1, "unreachable": 1})

    def test_name_that_does_not_answer_does_not_delay_others(self):
        self.begin()
        self.network.names["silent.example.com"] = ["10.0.0.66"]
        self.network.silent.add(("10.0.0.66", 9000))
        self.connect(said=request("silent.example.com"))
        self.network.run(3)
        self.connect(said=request("a.example.com"))
        self.assertEqual(len(self.backend.connections), 1)

    def test_name_of_this_proxy_is_a_loop(self):
        self.begin(targets=({"host": "{domain}", "port": 80},))
        self.network.names["loop.example.com"] = ["127.0.0.1"]
        client = self.connect(said=request("loop.example.com"))
        self.network.run(3)
        self.assertTrue(client.gone)
        self.assertEqual(self.proxy.metrics.totals().connections, 2)
        self.assertEqual(self.proxy.registry.active, 0)
