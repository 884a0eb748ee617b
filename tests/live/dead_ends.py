"""Places that cannot be connected to: one that refuses, and one that never answers."""

from __future__ import annotations

import contextlib
import socket

from tests.ports import free_ports

#: A queue of 0 takes one connection; the SYNs of the others are dropped. More for good measure.
_FILLING = 4


def refusing():
    """A target with nobody behind it."""
    return {"host": "127.0.0.1", "port": free_ports(1)[0]}


def blackhole(case):
    """A target whose queue is full: a SYN to it is never answered."""
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
