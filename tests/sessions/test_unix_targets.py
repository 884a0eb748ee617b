"""Connections to unix sockets through a whole proxy, in memory: what is shown of them, reloads, checks."""

from __future__ import annotations

import json

from smartproxy import Settings
from tests.on_network import NetworkTestCase
from tests.sessions.memory_proxy import route

PATH = "/run/app.sock"


def to(*targets, **action):
    return route("web", port=80, action={"targets": list(targets), **action})


class UnixTargetTests(NetworkTestCase):
    def begin(self, *targets, **action):
        text = json.dumps({"routes": [to(*targets, **action)], "acceleration": "off"})
        self.proxy = self.network.start(Settings.parse(text, "json"))
        self.addCleanup(lambda: self.network.stop(self.proxy))
        self.app = self.network.unix_backend(PATH)

    def test_target_is_shown_by_its_path(self):
        self.begin({"unix": PATH})
        self.connect(said=b"hello")
        far = self.app.connections[0]
        self.assertEqual(far.received, b"hello")
        (record,) = self.proxy.connections
        self.assertEqual(str(record.target), f"unix:{PATH}")
        (shown,) = self.proxy.groups.targets("web")
        self.assertEqual((shown.name, shown.address, shown.connections), (f"unix:{PATH}",) * 2 + (1,))
        (counted,) = self.proxy.groups.target_counts()
        self.assertEqual((counted.name, counted.results["ok"]), (f"unix:{PATH}", 1))

    def test_socket_options_of_tcp_are_not_set(self):
        self.begin({"unix": PATH})
        self.connect(said=b"hello")
        self.assertEqual(self.app.connections[0].transport.peer.options, {})

    def test_proxy_header_announces_the_client(self):
        self.begin({"unix": PATH, "sendProxyProtocol": 1})
        self.connect(said=b"hello")
        self.assertEqual(
            self.app.connections[0].received, b"PROXY TCP4 192.0.2.1 127.0.0.1 50000 80\r\nhello"
        )

    def test_refused_socket_is_followed_by_the_next_target(self):
        self.begin({"unix": "/run/none.sock"}, {"unix": PATH})
        self.connect(said=b"hello")
        self.assertEqual(self.app.connections[0].received, b"hello")
        states = {shown.name: shown.state for shown in self.proxy.groups.targets("web")}
        self.assertEqual(states, {"unix:/run/none.sock": "ejected", f"unix:{PATH}": "up"})

    def test_reload_adds_and_removes_one(self):
        """Connections of the removed one go on, as with any target."""
        self.begin({"host": "10.0.0.5", "port": 9000})
        self.network.result(self.proxy.update_routes([to({"unix": PATH})]))
        old = self.connect(said=b"one")
        self.network.result(self.proxy.update_routes([to({"host": "10.0.0.5", "port": 9000})]))
        self.connect(said=b"two")
        old.write(b" more")
        self.network.settle()
        self.assertEqual(self.app.connections[0].received, b"one more")
        self.assertEqual(self.backend.connections[0].received, b"two")

    def test_check_connects_to_the_socket(self):
        self.begin({"unix": PATH}, healthCheck={"interval": "1s", "fall": 1})
        self.network.run(3)
        (shown,) = self.proxy.groups.targets("web")
        self.assertEqual((shown.state, shown.last_check.ok), ("up", True))
        self.app.close()
        self.network.run(3)
        (shown,) = self.proxy.groups.targets("web")
        self.assertEqual((shown.state, shown.last_check.ok), ("down", False))
        self.assertIn(f"unix:{PATH}", shown.last_check.detail)
