"""A network namespace with a link to this one, which a test can cut: packets are lost without any answer."""

from __future__ import annotations

import itertools
import os
import sys
from unittest import SkipTest

from tests.live.programs import needed, run

#: RFC 2544: a range for tests of network devices, which no machine has otherwise.
_NETWORK = "198.18.{number}.{host}"
_numbers = itertools.count(os.getpid() % 200)

#: Accepts connections, returns what it receives, and prints a line once it listens.
_ECHO = """
import socket, threading
def serve(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
with socket.create_server(({host!r}, {port})) as listening:
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""
#: Connects, sends one word, prints a line once it is returned, and waits.
_ASKS = """
import socket, time
sock = socket.create_connection(({host!r}, {port}))
sock.sendall(b"word")
assert sock.recv(4) == b"word"
print("answered", flush=True)
time.sleep(600)
"""


class Namespace:
    """Another machine, as far as TCP is concerned.

    :ivar near: address of this machine on the link.
    :ivar far: address of the namespace.

    :raises SkipTest: if this process may not make one.
    """

    def __init__(self, case):
        self._case = case
        self._ip = needed("ip")
        if os.geteuid() != 0:
            raise SkipTest("only root may make a network namespace")
        number = next(_numbers) % 256
        self.name = f"sp-{os.getpid()}-{number}"
        self.near, self.far = (_NETWORK.format(number=number, host=host) for host in (1, 2))
        made = run(self._ip, "netns", "add", self.name)
        if made.returncode:
            raise SkipTest(f"no network namespace can be made: {made.stderr.strip()}")
        case.addCleanup(run, self._ip, "netns", "del", self.name)
        link = f"sp{os.getpid()}-{number}"
        self._do("link", "add", link, "type", "veth", "peer", "name", "far", "netns", self.name)
        self._do("addr", "add", f"{self.near}/30", "dev", link)
        self._do("link", "set", link, "up")
        self._do("-n", self.name, "addr", "add", f"{self.far}/30", "dev", "far")
        self._do("-n", self.name, "link", "set", "far", "up")

    def _do(self, *words):
        done = run(self._ip, *words)
        if done.returncode:
            raise SkipTest(f"ip {' '.join(words)}: {done.stderr.strip()}")

    def cut(self):
        """Lose every packet from now on."""
        self._do("-n", self.name, "link", "set", "far", "down")

    def echo(self, port):
        """Start a server in the namespace, and return it as a target."""
        self._run(_ECHO.format(host=self.far, port=port), "listening")
        return {"host": self.far, "port": port}

    def client(self, port):
        """Start a client in the namespace that has exchanged a word through ``port`` of this machine."""
        return self._run(_ASKS.format(host=self.near, port=port), "answered")

    def _run(self, code, until_printed):
        command = (self._ip, "netns", "exec", self.name, sys.executable, "-c", code)
        return self._case.printing(until_printed, *command)
