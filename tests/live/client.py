"""A client socket for tests whose peer may reset at once."""

from __future__ import annotations

import errno
import os
import socket

#: Seconds a blocking call of a test may take, also on a busy machine.
TIMEOUT = 30.0


class ResetBeforeUse(socket.socket):
    """A socket whose RST arrived before ``connect`` returned: reading and writing fail, as a moment later."""

    def recv(self, *_):
        """Fail as the read of a connection that was reset."""
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    recv_into = send = sendall = recv


def connected(port, host="127.0.0.1", source=None):
    """A connection to ``port`` of ``host``.

    A peer that accepts and resets may do so before this process has returned from ``connect``, which then fails. Which of
    the two happens depends on the scheduler alone, so that a test must not depend on it: here, it is the first read that fails.
    """
    try:
        return socket.create_connection((host, port), TIMEOUT, None if source is None else (source, 0))
    except ConnectionResetError:
        return ResetBeforeUse(socket.AF_INET6 if ":" in host else socket.AF_INET)
