"""Fail-over of PostgreSQL with Patroni, as docs/recipes.rst has it: with the part of its REST API that checks ask."""

from __future__ import annotations

import time
from contextlib import closing

from tests.live.case import LiveCase
from tests.live.migrating import blocks, naming, settings
from tests.live.waiting import until

_TITLE = "PostgreSQL with Patroni"
_SESSIONS = 10


class FakePatroni:
    """The REST API of one server: ``/primary`` and ``/replica`` are 200 where that is its role, and else 503."""

    def __init__(self, role):
        self.role = role
        self.paths = set()

    def __call__(self, _backend, sock):
        request = b""
        while b"\r\n\r\n" not in request:
            data = sock.recv(4096)
            if not data:
                return
            request += data
        path = request.split()[1].decode()
        self.paths.add(path)
        is_it = path.strip("/").partition("?")[0] == self.role
        body = b'{"role": "%s"}' % self.role.encode()
        status = b"200 OK" if is_it else b"503 Service Unavailable"
        sock.sendall(b"HTTP/1.0 %s\r\nContent-Type: application/json\r\n\r\n%s" % (status, body))


class PatroniTests(LiveCase):
    def setUp(self):
        super().setUp()
        self.roles = FakePatroni("primary"), FakePatroni("replica")
        self.servers = [self.backend(naming(name)) for name in ("db1", "db2")]
        rest = [self.backend(role) for role in self.roles]
        (text,) = blocks("recipes", _TITLE)
        written = settings(text, {})
        for group in written["targetGroups"].values():
            for target, server, api in zip(group["targets"], self.servers, rest, strict=True):
                target.update(server.target, healthCheck={"port": api.port})
        self.check = written["targetGroups"]["primary"]["healthCheck"]
        self.fronts = self.port(), self.port()
        for route, front in zip(written["routes"], self.fronts, strict=True):
            route["match"]["ports"] = front
        self.running = self.proxy(**written)

    def states(self, group):
        return {
            one["name"]: one["state"]
            for one in self.running.api("targets")["targets"]
            if one["group"] == group
        }

    def session(self, front=0):
        """A session, and the server that it is with."""
        sock = self.connect(self.fronts[front])
        sock.sendall(b"who")
        return sock, sock.recv(100).partition(b":")[0].decode()

    def is_live(self, sock):
        try:
            sock.sendall(b"still")
            return bool(sock.recv(100))
        except ConnectionError:
            return False

    def test_sessions_of_the_old_primary_end_and_those_of_the_new_one_stay(self):
        until(lambda: self.states("primary") == {"db1": "up", "db2": "down"}, "db1 being the primary")
        old = [self.session() for _ in range(_SESSIONS)]
        self.assertEqual({name for _, name in old}, {"db1"})
        began = time.monotonic()
        self.roles[0].role, self.roles[1].role = "replica", "primary"
        for sock, _ in old:
            self.assert_gone(sock)
        took = time.monotonic() - began
        limit = float(self.check["interval"].removesuffix("s")) * self.check["fall"] + 1
        self.assertLess(took, limit)
        until(lambda: self.states("primary") == {"db1": "down", "db2": "up"}, "db2 being the primary")
        new = [self.session() for _ in range(_SESSIONS)]
        self.assertEqual({name for _, name in new}, {"db2"})
        time.sleep(limit)
        self.assertTrue(all(self.is_live(sock) for sock, _ in new))
        self.assertEqual(self.running.closed("target_down"), _SESSIONS)
        print(f"fail-over took {took:.2f} s of {limit:g} s")

    def test_clients_during_the_fail_over_end_up_at_the_new_primary(self):
        """Each session that was connected to the new primary is still open at the end, whenever it began."""
        until(lambda: self.states("primary") == {"db1": "up", "db2": "down"}, "db1 being the primary")
        self.roles[0].role, self.roles[1].role = "replica", "primary"
        sessions = []
        end = time.monotonic() + 4
        while time.monotonic() < end:
            sessions.append(self.session())
            time.sleep(0.02)
        time.sleep(2)
        lives = {name: {self.is_live(sock) for sock, to in sessions if to == name} for name in ("db1", "db2")}
        self.assertEqual(lives, {"db1": {False}, "db2": {True}})

    def test_readers_are_connected_to_the_replica(self):
        until(lambda: self.states("replica") == {"db1": "down", "db2": "up"}, "db2 being the replica")
        for _ in range(4):
            sock, name = self.session(front=1)
            sock.close()
            self.assertEqual(name, "db2")
        self.assertEqual(self.roles[1].paths, {"/primary", "/replica?lag=16MB"})
        with closing(self.session(front=1)[0]) as held:
            self.roles[1].role = "none"
            until(lambda: self.states("replica") == {"db1": "down", "db2": "down"}, "no replica being left")
            self.assertTrue(self.is_live(held))  # whenDown is keep here
