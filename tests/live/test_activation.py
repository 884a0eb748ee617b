"""Sockets that systemd has bound are served, by one process and by several."""

from __future__ import annotations

import sys

from tests.live.case import LiveCase

#: What systemd does: binds, passes the socket as descriptor 3, and tells which process it is for.
_MANAGER = """
import os, socket, sys
opened = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.dup2(opened.fileno(), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class ActivationTests(LiveCase):
    def check(self, workers):
        front, other = self.port(), self.port()
        echo = {"type": "handler", "handler": "smartproxy.serving.ready:echo"}
        routes = [
            {"name": "passed", "match": {"ports": front, "address": "127.0.0.1"}, "action": echo},
            {"name": "bound", "match": {"ports": other}, "action": echo},
        ]
        before = [sys.executable, "-c", _MANAGER, str(front)]
        proxy = self.proxy(*routes, before=before, workers=workers)
        for port in (front, front, front, other):
            client = self.connect(port)
            client.sendall(b"hello")
            self.assertEqual(client.recv(5), b"hello")
        self.assertEqual(len(proxy.api("status")["listeners"]), 2)

    def test_one_process(self):
        self.check(1)

    def test_several_processes(self):
        self.check(3)
