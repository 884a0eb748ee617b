"""What every live test has: a directory, and a way to start things that all end with it.

The tests block, and what they talk to runs in other processes or threads, so that nothing of what is tested
shares an event loop with the test. A proxy whose log has a traceback fails its test, whatever else it did.
"""

from __future__ import annotations

import socket
import sys
import tempfile
import unittest
from pathlib import Path

from tests.live.backends import Backend
from tests.live.client import connected
from tests.live.programs import Program
from tests.live.proxy import Proxy
from tests.ports import free_ports

#: The first port that any user may bind.
_LOWEST_FREE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

#: What the command line of a proxy begins with whose reactor cannot watch descriptors.
_WITHOUT_DESCRIPTORS = (sys.executable, str(Path(__file__).with_name("without_descriptors.py")))
#: Arguments of :meth:`LiveCase.proxy` for each way to relay plain connections: with splice, by copying, and between the
#: transports of Twisted.
WAYS = (
    {"acceleration": "auto"},
    {"acceleration": "off"},
    {"acceleration": "off", "before": _WITHOUT_DESCRIPTORS},
)


class LiveCase(unittest.TestCase):
    """A test with real sockets."""

    def setUp(self):
        if not sys.platform.startswith("linux"):
            self.skipTest("what a process does is read from Linux's /proc")
        directory = tempfile.TemporaryDirectory(prefix="smartproxy-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.directory.chmod(0o755)  # a peer may run as another user

    def low_port(self):
        """A free port that only root may bind."""
        lowest = int(Path(_LOWEST_FREE).read_text())
        for port in range(lowest - 1, max(lowest - 200, 1), -1):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return port
        self.skipTest(f"no free port below {lowest}")
        return 0

    # -- starting ------------------------------------------------------------------------------------

    def proxy(self, *routes, before=(), options=(), **settings):
        """A proxy with these routes and top-level keys, ready."""
        proxy = self.starting(Proxy(self.directory, {"routes": routes, **settings}, before, options))
        proxy.ready()
        return proxy

    def proxies(self, *settings):
        """A proxy for each of these settings, all ready. They start at the same time, which saves a wait.

        ``before`` among the settings are words of the command line, as for :meth:`proxy`.
        """
        started = []
        for each in settings:
            written = {key: value for key, value in each.items() if key != "before"}
            started.append(self.starting(Proxy(self.directory, written, each.get("before", ()))))
        for proxy in started:
            proxy.ready()
        return started

    def each_relay(self, backend, *, domains=(), **settings):
        """A proxy before ``backend`` for each of :data:`WAYS`: the relay's name, the proxy and its port."""
        fronts = [self.port() for _ in WAYS]
        asked = [
            {"routes": [route("all", front, backend, domains=list(domains))], **way}
            for front, way in zip(fronts, WAYS, strict=True)
        ]
        proxies = self.proxies(*({**each, **settings} for each in asked))
        return list(zip(("splice", "transport", "transport"), proxies, fronts, strict=True))

    def starting(self, proxy):
        """Look after a proxy that has been started."""
        self.addCleanup(self._left_clean, proxy)
        return proxy

    def _left_clean(self, proxy):
        proxy.report()
        proxy.stop()
        self.assertNotIn("Traceback", proxy.printed)
        self.assertNotIn("Unhandled", proxy.printed)

    def backend(self, serve, **options):
        """A backend that does ``serve``."""
        backend = Backend(serve, **options)
        self.addCleanup(self._ended_well, backend)
        return backend

    def _ended_well(self, backend):
        backend.close()
        for failure in backend.failures:
            raise failure

    def program(self, *command, **options):
        """A program that runs until the test ends."""
        program = Program(command, self.directory / f"{Path(str(command[0])).name}.log", **options)
        self.addCleanup(program.stop)
        return program

    def port(self):
        """A free port."""
        return free_ports(1)[0]

    def file(self, name, text):
        """A file with this text."""
        path = self.directory / name
        path.write_text(text)
        return path

    # -- talking -------------------------------------------------------------------------------------

    def connect(self, port, host="127.0.0.1", source=None):
        """A connection to ``port``, from the address ``source`` where that matters."""
        sock = connected(port, host, source)
        self.addCleanup(sock.close)
        return sock

    def assert_echoes(self, sock, words=b"words"):
        """What is sent comes back."""
        sock.sendall(words)
        self.assertEqual(self.read(sock, len(words)), words)

    def read(self, sock, count):
        """Exactly ``count`` bytes."""
        held = b""
        while len(held) < count:
            data = sock.recv(count - len(held))
            self.assertTrue(data, f"ended after {held!r}")
            held += data
        return held

    def assert_refused(self, port, **more):
        """A connection to ``port`` is closed without a byte."""
        self.assert_gone(self.connect(port, **more))

    def assert_gone(self, sock):
        """The other side has closed, with a FIN or a RST, and said nothing before."""
        try:
            said = sock.recv(1)
        except ConnectionResetError:
            return
        self.assertEqual(said, b"")


def route(name, port, *backends, action=None, **keys):
    """A route from ``port`` to ``backends``, as it stands in a file. ``keys`` named as in ``match`` go there."""
    match = {
        key: keys.pop(key) for key in ("domains", "clientIp", "path", "protocol", "proxyTlv") if key in keys
    }
    targets = [getattr(backend, "target", backend) for backend in backends]
    return {
        "name": name,
        "match": {"ports": [port], **match},
        "action": {"targets": targets, **(action or {})},
        **keys,
    }
