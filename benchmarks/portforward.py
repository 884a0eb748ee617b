"""Twisted's own port forwarder as a process: what a reader would write in an afternoon.

``python -m benchmarks.portforward PORT BACKEND_PORT HOST [HOST ...]``. It is
``twisted.protocols.portforward`` as it comes, on the epoll reactor, except that it logs nothing and takes
several backends in turn, because the others do, too, and one would run out of ports to be dialed from.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

reactor = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted gives it no types
installReactor(reactor)  # type: ignore[no-untyped-call]  # likewise

from twisted.protocols import portforward  # noqa: E402 - it imports the reactor, so it comes later


class QuietClientFactory(portforward.ProxyClientFactory):
    """Says nothing when it starts and stops: ours says nothing, either."""

    noisy = False


class QuietServer(portforward.ProxyServer):
    """One that dials without a word."""

    clientProtocolFactory = QuietClientFactory


class InTurn(portforward.ProxyFactory):
    """Forward each connection to the next of several hosts."""

    noisy = False
    protocol = QuietServer

    def __init__(self, hosts: list[str], port: int) -> None:
        super().__init__(hosts[0], port)
        self._next_host = itertools.cycle(hosts).__next__

    def buildProtocol(self, addr: Any) -> Any:
        self.host = self._next_host()
        return super().buildProtocol(addr)


def main(arguments: list[str]) -> None:
    port, backend_port, *hosts = arguments
    factory = InTurn(hosts, int(backend_port))
    reactor.listenTCP(int(port), factory, 1024, "127.0.0.1")  # type: ignore[no-untyped-call]  # likewise
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
