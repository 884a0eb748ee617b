"""Targets that cannot be connected to: one refuses, and one never answers."""

from __future__ import annotations

import contextlib
import socket

from tests.ports import free_ports

#: Connections to fill the queue with: a backlog of 0 holds one, and SYNs beyond it are dropped. More, to be safe.
_FILLING = 4


def refusing():
    """A target on a port without a listener."""
    return {"host": "127.0.0.1", "port": free_ports(1)[0]}


def blackhole(case):
    """A target whose accept queue is full: a SYN to it is never answered."""
    listening = socket.socket()
    case.addCleanup(listening.close)
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    for _ in range(_FILLING):
        filling = socket.socket()
        case.addCleanup(filling.close)
        filling.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            filling.connect(listening.getsockname())
    return {"host": "127.0.0.1", "port": listening.getsockname()[1]}
