"""Connections that a proxy in memory carries, and values as they arrive in another process."""

from __future__ import annotations

import pickle


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def exchange(proxy, ip="192.0.2.1", received=b"ask", sent=b"answer", port=8080):
    """A connection that has moved bytes both ways; its client's end, and the target's."""
    client = proxy.client(ip, port=port)
    backend = proxy.backend()
    client.write(received)
    proxy.settle()
    backend.write(sent)
    proxy.settle()
    return client, backend


def closed(proxy, ends):
    """Both ends close, and the connection is cleaned up."""
    for end in ends:
        end.close()
    proxy.pass_time(1)
