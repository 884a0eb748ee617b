"""The targets: ``python -m benchmarks.ends.targets CERTIFICATE KIND=PORT ...``."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
from pathlib import Path

from benchmarks.backends import Answer, Hold, Loop, Source
from benchmarks.messages import SMALL
from benchmarks.processes import allow_descriptors

HOST = "127.0.0.1"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Farewell(Loop):
    """Send 64 bytes and a FIN at once."""

    def accepted(self, connection: socket.socket) -> None:
        connection.sendall(bytes(SMALL))
        connection.shutdown(socket.SHUT_WR)


class Reset(Loop):
    """Answer the first bytes, then reset."""

    def received(self, number: int, data: bytes) -> None:
        if data:
            connection = self._open[number]
            connection.sendall(data[:SMALL])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            raise ConnectionAbortedError  # the loop closes it


LOOPS: dict[str, type[Loop]] = {"answer": Answer, "hold": Hold, "farewell": Farewell, "reset": Reset}


def main(certificate: Path, ports: dict[str, int]) -> None:
    allow_descriptors(0)
    threads = []
    for kind, port in ports.items():
        listeners = [socket.create_server((HOST, port), backlog=4096)]
        if kind == "encrypted":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            run = Source(listeners, context).run
        else:
            run = LOOPS[kind](listeners).run
        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    pairs = (pair.partition("=") for pair in sys.argv[2:])
    main(Path(sys.argv[1]), {kind: int(port) for kind, _, port in pairs})
