"""Messages between the supervisor and the nursery: JSON objects, some with descriptors, over a SOCK_SEQPACKET socket.

The supervisor's have ``do``: ``load`` (``protocol``, with a configuration, :mod:`smartproxy.workers.passed_settings`),
``become`` (``user``, ``group``, ``groups``), ``fork`` (``slot``, ``generation``, ``row``, with the worker's end of its control
channel), ``renew`` (with the changed certificate files, :class:`~smartproxy.workers.commands.Renew`), ``staple`` (with an OCSP
response), ``reopen`` and ``retire``. Each is answered in order, ``{"ok": ...}`` or ``{"failed": WHY}``. In between the
supervisor is told which workers have ended: ``{"ended": PROCESS, "status": EXIT_CODE}``.
"""

from __future__ import annotations

import array
import json
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a supervisor and its other processes send each other: these messages, :mod:`smartproxy.workers.commands`, and the
#: classes that are pickled, such as snapshots. Another number after each change that the former version cannot handle:
#: after SIGUSR2 the supervisor is of the version before the update.
PROTOCOL = 2
#: Bytes of a message, and descriptors with it, at most.
_LONGEST, _MOST_DESCRIPTORS = 65536, 4


def send(end: socket.socket, message: Mapping[str, object], descriptors: tuple[int, ...] = ()) -> None:
    """Send a message with descriptors."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
    end.sendmsg([json.dumps(message).encode()], [rights] if descriptors else [])


def receive(end: socket.socket) -> tuple[dict[str, object], list[int]] | None:
    """The next message and its descriptors; ``None`` when the other end is closed."""
    try:
        content, descriptors, _, _ = socket.recv_fds(end, _LONGEST, _MOST_DESCRIPTORS)
    except ConnectionResetError:  # it was closed with unread messages
        return None
    return (json.loads(content), descriptors) if content else None
