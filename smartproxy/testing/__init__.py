"""A proxy without sockets: what our own tests of the whole path use, for yours.

::

    network = MemoryNetwork()
    backend = network.backend("10.0.0.5", 80)
    proxy = network.start(Settings(routes=[...]))
    client = network.connect(443)

    client.write(b"hello")
    network.settle()
    assert backend.connections[0].received == b"hello"

    network.stop(proxy)

Nothing here waits: time passes when :meth:`MemoryNetwork.run` says so, and everything happens in the same order each
time. The connections behave like TCP (:mod:`smartproxy.testing.connection`): they push back, half-close, reset, cut
and delay.
"""

from __future__ import annotations

from smartproxy.testing.connection import FarEnd, MemoryTransport, Nature, connection
from smartproxy.testing.network import Backend, MemoryNetwork

__all__ = ["Backend", "FarEnd", "MemoryNetwork", "MemoryTransport", "Nature", "connection"]
