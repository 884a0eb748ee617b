"""An in-memory connection that behaves: it pushes back, half-closes, resets, cuts and delays.

It is what :mod:`smartproxy.testing` gives to embedders, so that what they test with is what we test with.
"""

from __future__ import annotations

from smartproxy.testing import FarEnd, MemoryTransport, Nature, connection

__all__ = ["FarEnd", "MemoryTransport", "Nature", "connection"]
