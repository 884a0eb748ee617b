"""The same group of targets behind this proxy and behind HAProxy, for clients who compare them."""

from __future__ import annotations

from typing import NamedTuple

from tests.live.backends import echo
from tests.live.case import LiveCase, route
from tests.live.haproxy import haproxy


class Server(NamedTuple):
    """A target of both proxies.

    :ivar ours: its keys for this proxy, beside host and port.
    :ivar theirs: its words for HAProxy, behind its address.
    """

    name: str
    port: int
    ours: dict
    theirs: str = ""


def greeting(name):
    """A backend that sends its name, one character, and then echoes."""

    def serve(backend, sock):
        sock.sendall(name.encode())
        echo(backend, sock)

    return serve


class BalancingCase(LiveCase):
    """A test that runs against both."""

    def server(self, name, theirs="", **ours):
        """A server that is running, and sends ``name``. Its port is none that the kernel gives away while it is stopped."""
        return Server(name, self.backend(greeting(name), port=self.port()).port, ours, theirs)

    def both(self, servers, ours, theirs, **settings):
        """The name and the port of each proxy, with all ``servers`` in one group.

        :param ours: keys of the route's action.
        :param theirs: lines of HAProxy's ``listen`` section.
        """
        return [
            ("smartproxy", self.our_port(servers, ours, **settings)),
            ("haproxy", self.their_port(servers, theirs)),
        ]

    def our_port(self, servers, action, **settings):
        """The port of a proxy of ours, which is left in ``self.ours``."""
        port = self.port()
        targets = [{"name": one.name, "host": "127.0.0.1", "port": one.port, **one.ours} for one in servers]
        self.ours = self.proxy(route("group", port, *targets, action=action), **settings)
        return port

    def their_port(self, servers, lines):
        """The port of an HAProxy."""
        port = self.port()
        words = [f"server {one.name} 127.0.0.1:{one.port} {one.theirs}" for one in servers]
        section = [f"listen group-{port}", f"bind 127.0.0.1:{port}", *lines, *words]
        haproxy(self, port, "\n    ".join(section))
        return port

    def answered(self, port, source=None):
        """A connection that stays open, and the name of the server that has it."""
        sock = self.connect(port, source=source)
        return sock, self.read(sock, 1).decode()

    def used(self, port, count, source=None):
        """The names of the servers of ``count`` connections, each closed before the next one, as one string."""
        names = ""
        for _ in range(count):
            sock, name = self.answered(port, source)
            sock.close()
            names += name
        return names
