"""Test a proxy without sockets, on an in-memory network. The tests of smartproxy use it, too.

::

    network = MemoryNetwork()
    backend = network.backend("10.0.0.5", 80)
    proxy = network.start(Settings(routes=[...]))
    client = network.connect(443)

    client.write(b"hello")
    network.settle()
    assert backend.connections[0].received == b"hello"

    network.stop(proxy)

No test waits: time advances only in :meth:`MemoryNetwork.run` and :meth:`MemoryNetwork.result`, and events have the same
order in every run. The connections behave like TCP (:mod:`smartproxy.testing.connection`): they have backpressure,
half-close and reset, and can split and delay what is written.
"""

from __future__ import annotations

from smartproxy.testing.connection import MemoryTransport
from smartproxy.testing.far_end import FarEnd, connection
from smartproxy.testing.nature import Nature
from smartproxy.testing.network import Backend, MemoryNetwork

__all__ = ["Backend", "FarEnd", "MemoryNetwork", "MemoryTransport", "Nature", "connection"]
