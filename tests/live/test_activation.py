"""Sockets that systemd has bound are served, by one process and by several."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress

from tests.live.case import LiveCase
from tests.live.proxy import Proxy
from tests.live.waiting import until

#: What systemd does: it passes sockets from descriptor 3 on. Here it gets them, and their names, from the test.
_START = """
import fcntl, os, socket, sys
with socket.socket(socket.AF_UNIX) as manager:
    manager.connect(sys.argv[1])
    names, kept, _, _ = socket.recv_fds(manager, 65536, 64)
above = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 100) for each in kept]
for each in kept:
    os.close(each)
for number, descriptor in enumerate(above):
    os.dup2(descriptor, 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(kept)), LISTEN_FDNAMES=names.decode())
os.execvp(sys.argv[2], sys.argv[2:])
"""


def start_with(case, settings, sockets, before=()):
    """A proxy that is passed these sockets: pairs of name and descriptor."""
    listening = socket.socket(socket.AF_UNIX)
    path = case.directory / "manager"
    listening.bind(str(path))
    listening.listen()
    command = [*before, sys.executable, "-c", _START, str(path)]
    proxy = case.starting(Proxy(case.directory, settings, command))
    with listening, listening.accept()[0] as asking:
        names = ":".join(name for name, _ in sockets)
        socket.send_fds(asking, [names.encode()], [each for _, each in sockets])
    proxy.ready()
    return proxy


class ActivationTests(LiveCase):
    def check(self, workers):
        """The test has the socket, too: the proxy could not bind its address."""
        front, other = self.port(), self.port()
        opened = socket.create_server(("127.0.0.1", front))
        self.addCleanup(opened.close)
        settings = {"routes": [_route("passed", front), _route("bound", other)], "workers": workers}
        proxy = start_with(self, settings, [("web", opened.fileno())])
        for port in (front, front, front, other):
            client = self.connect(port)
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")
        self.assertEqual(len(proxy.api("status")["listeners"]), 2)

    def test_one_process(self):
        self.check(1)

    def test_several_processes(self):
        self.check(3)

    def test_a_socket_that_no_route_wants_is_reported(self):
        opened = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(opened.close)
        proxy = start_with(self, {"routes": [_route("one", self.port())]}, [("web", opened.fileno())])
        self.assertIn("no route has a use for the socket 127.0.0.1:", proxy.printed)


class Store:
    """systemd's end of the notification socket, which keeps the descriptors that it is given.

    :ivar kept: pairs of name and descriptor.
    :ivar removed: whether some were removed.
    """

    def __init__(self, case):
        self.address = str(case.directory / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)
        case.addCleanup(self._socket.close)
        case.addCleanup(self._forget)
        self.kept = []
        self.removed = False

    def look(self):
        """Take what has arrived."""
        with suppress(BlockingIOError):
            while True:
                content, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 300)
                message = dict(each.split("=", 1) for each in content.decode().splitlines())
                if "FDSTOREREMOVE" in message:
                    self._forget(message["FDNAME"])
                    self.removed = True
                self.kept += [(message["FDNAME"], each) for each in descriptors]
        return self.kept

    def _forget(self, removed=None):
        """Close those with this name, or all."""
        for name, descriptor in self.kept:
            if removed in {None, name}:
                os.close(descriptor)
        self.kept = [one for one in self.kept if removed not in {None, one[0]}]


class KeptTests(LiveCase):
    """``FileDescriptorStoreMax=``: the sockets are stored, and given back at the next start."""

    def check(self, workers, sockets):
        front = self.port()
        store = Store(self)
        settings = {"routes": [_route("kept", front)], "workers": workers}
        before = ["env", f"NOTIFY_SOCKET={store.address}"]
        first = self.starting(Proxy(self.directory, settings, before))
        first.ready()
        until(lambda: len(store.look()) == sockets, "the sockets")
        self.assertEqual({name for name, _ in store.kept}, {f"127.0.0.1_{front}"})
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait(), 0)
        waiting = [self.connect(front) for _ in range(20)]  # nobody accepts: the kernel completes them
        again = start_with(self, settings, store.kept)
        for client in [*waiting, *(self.connect(front) for _ in range(20))]:
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")
        self.assertNotIn("no route has a use", again.printed)

    def test_what_the_new_configuration_has_no_use_for_is_closed(self):
        """Of three workers one is left, and of two ports: the kernel would give clients to sockets that no process accepts from."""
        front, other = self.port(), self.port()
        store = Store(self)
        before = ["env", f"NOTIFY_SOCKET={store.address}"]
        settings = {"routes": [_route("one", front), _route("two", other)], "workers": 3}
        first = self.starting(Proxy(self.directory, settings, before))
        first.ready()
        until(lambda: len(store.look()) == 6, "the sockets")
        first.signal(signal.SIGTERM)
        self.assertEqual(first.wait(), 0)
        start_with(self, {"routes": [_route("one", front)], "workers": 1}, store.kept, before)
        until(lambda: len(store.look()) == 1 and store.removed, "the sockets in use")
        for client in [self.connect(front) for _ in range(20)]:
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")
        self.assertRaises(ConnectionRefusedError, self.connect, other)

    def test_one_process(self):
        self.check(1, 1)

    def test_several_processes(self):
        self.check(3, 3)


def _route(name, port):
    echo = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
    return {"name": name, "match": {"ports": port, "address": "127.0.0.1"}, "action": echo}
