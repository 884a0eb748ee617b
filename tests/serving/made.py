"""A proxy on an in-memory network, with one route that a handler serves."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.settings import Settings
from smartproxy.testing import MemoryNetwork, Nature

PORT = 7000
ROUTE = "served"


class Serving:
    """A proxy with one served route, and its latest client.

    :ivar client: the client that connected last.
    """

    def __init__(self, case, handler=None, nature: Nature | None = None, *, action=None, match=None, **more):
        top = {key: more.pop(key) for key in ("proxy_ips", "accept_proxy_protocol") if key in more}
        action = action or {"type": "handler", "handler": handler}
        route = {"name": ROUTE, "match": {"ports": PORT, **(match or {})}, "action": action, **more}
        self.network = MemoryNetwork(nature)
        self.proxy = self.network.start(
            Settings(routes=[route], graceful_shutdown_timeout=0, acceleration="off", **top)
        )
        self.client = None
        case.addCleanup(self.network.stop, self.proxy)

    def connect(self, said=b"", **more):
        self.client = self.network.connect(PORT, **more)
        if said:
            self.client.write(said)
        self.network.settle()
        return self.client

    def say(self, data):
        self.client.write(data)
        self.network.settle()

    def settle(self):
        self.network.settle()

    @property
    def record(self):
        (record,) = self.proxy.connections
        return record

    @property
    def counters(self):
        """Counters of the route, after the cleanup has added closed connections to the totals."""
        self.network.run(0.3)
        return self.proxy.counters.route(ROUTE)

    @property
    def closed(self) -> dict[CloseReason, int]:
        return self.counters.closed

    @property
    def moved(self):
        return self.counters.received, self.counters.sent

    def rejected(self, reason: RejectReason) -> int:
        return self.proxy.counters.rejected[reason]


class CoroutineTestCase(SynchronousTestCase):
    def serve(self, handler, nature=None, **more):
        self.serving = Serving(self, handler, nature, **more)
        return self.serving

    def failures(self):
        return [type(failure.value) for failure in self.flushLoggedErrors()]
