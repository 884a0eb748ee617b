"""A proxy on a network in memory, inside of a test, and routes for it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy import Route, Settings
from smartproxy.testing import MemoryNetwork

HOST = "10.0.0.5"


def a_route(name="web", ports=80, *, host=HOST, port=9000, **more):
    return Route(
        name=name, match={"ports": ports}, action={"targets": [{"host": host, "port": port}]}, **more
    )


def served(handler, name="served", ports=7, **more):
    return Route(name=name, match={"ports": ports}, action={"type": "handler", "handler": handler}, **more)


class NetworkTestCase(SynchronousTestCase):
    def setUp(self):
        self.network = MemoryNetwork()
        self.backend = self.network.backend(HOST, 9000)

    def start(self, *routes, **more):
        self.proxy = self.network.start(
            Settings(routes=list(routes) or [a_route()], **{"acceleration": "off", **more})
        )
        self.addCleanup(lambda: self.network.stop(self.proxy))
        return self.proxy

    def connect(self, port=80, said=b"", **more):
        client = self.network.connect(port, **more)
        if said:
            client.write(said)
        self.network.settle()
        return client

    def update(self, *routes):
        return self.network.result(self.proxy.update_routes(routes))

    def closed(self, route):
        self.network.run(0.3)
        return self.proxy.counters.route(route).closed

    def failures(self):
        return [failure.type for failure in self.flushLoggedErrors()]
