"""Reloads under load: no connection fails, no open one is cut, and nothing is left behind."""

from __future__ import annotations

import json
import socket
import threading
from itertools import cycle, islice
from pathlib import Path

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.waiting import PATIENCE

_RELOADS = 60
#: The addresses of the listener after each reload.
_ADDRESSES = [["127.0.0.1"], [""], ["127.0.0.1", "127.0.0.2"], ["", "127.0.0.1"], ["0.0.0.0"], ["::"]]


class LoadTests(LiveCase):
    def setUp(self):
        super().setUp()
        self.done = False
        self.served = 0
        self.failed = []

    def settings(self, addresses):
        """A route for each address, and one that stays as it is."""
        routes = [route("stays", self.second, self.target)]
        for address in addresses:
            one = route(f"on {address}", self.front, self.target)
            one["match"]["address"] = address
            routes.append(one)
        return routes

    def connect_again_and_again(self):
        while not self.done:
            try:
                with socket.create_connection(("127.0.0.1", self.front), timeout=PATIENCE) as client:
                    client.sendall(b"hello")
                    assert client.recv(10) == b"hello"
                self.served += 1
            except (OSError, AssertionError) as failed:
                self.failed.append(repr(failed))

    def descriptors(self, proxy):
        return len(list(Path(f"/proc/{proxy.pid}/fd").iterdir()))

    def check(self, acceleration):
        self.front, self.second = self.port(), self.port()
        self.target = self.backend(echo)
        proxy = self.proxy(*self.settings([""]), acceleration=acceleration)
        tunnels = [self.connect(port) for port in (self.front, self.second)]
        clients = [threading.Thread(target=self.connect_again_and_again) for _ in range(2)]
        for client in clients:
            client.start()
        written = json.loads(proxy.file.read_text())
        descriptors = self.descriptors(proxy)
        try:
            for addresses in islice(cycle(_ADDRESSES), _RELOADS):
                proxy.file.write_text(json.dumps(written | {"routes": self.settings(addresses)}))
                status, body = proxy.ask("/api/v1/reload", "POST")
                self.assertEqual((status, addresses), (200, addresses), body)
        finally:
            self.done = True
            for client in clients:
                client.join()
        self.assertEqual(self.failed, [])
        self.assertGreater(self.served, 0)
        self.assert_echoes(tunnels[1])
        self.assertLess(self.descriptors(proxy), descriptors + _RELOADS / 2)
        page = proxy.ask("/metrics")[1].decode()
        self.assertIn(f'\nsmartproxy_config_reloads_total{{result="ok"}} {_RELOADS}\n', page)

    def test_addresses_change_with_the_poller(self):
        self.check("auto")

    def test_addresses_change_with_the_reactors_ports(self):
        self.check("off")
