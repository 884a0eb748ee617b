"""Twisted's port forwarder as a process: the simplest proxy that a Twisted program can contain.

``python -m benchmarks.portforward PORT BACKEND_PORT HOST [HOST ...]``. It is
``twisted.protocols.portforward`` on the epoll reactor, except that it logs nothing and uses several backends in
turn: the other contestants do so, too, and connections to one address would run out of source ports.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

reactor = EPollReactor()  # type: ignore[no-untyped-call]  # Twisted gives it no types
installReactor(reactor)  # type: ignore[no-untyped-call]  # likewise

from twisted.protocols import portforward  # noqa: E402 - it imports the reactor, so that must be installed first


class QuietClientFactory(portforward.ProxyClientFactory):
    """Logs nothing when it starts and stops, as smartproxy does not."""

    noisy = False


class QuietServer(portforward.ProxyServer):
    """A server whose client factories log nothing."""

    clientProtocolFactory = QuietClientFactory


class RoundRobinFactory(portforward.ProxyFactory):
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
    factory = RoundRobinFactory(hosts, int(backend_port))
    reactor.listenTCP(int(port), factory, 1024, "127.0.0.1")  # type: ignore[no-untyped-call]  # likewise
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
