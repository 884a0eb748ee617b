"""Bytes and connections of targets agree with those of their routes, on every relay and after every kind of end.

Routes of one group are compared with the targets of that group, after a load and while it runs: one that resets, is refused,
waits in a queue, is dialed twice, or is ended by a check, an operator or a reload must not be counted twice, nor be lost.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections import Counter

from tests.live.backends import echo, read_to_end, reset
from tests.live.case import route
from tests.live.client import TIMEOUT
from tests.live.dead_ends import blackhole, refusing
from tests.live.terminating import TlsCase, in_order
from tests.live.waiting import until

_SAMPLE = re.compile(rb"^(smartproxy_\w+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(rb'(\w+)="([^"]*)"')
#: Connections of a client of the load.
_EACH = 10
_BULK = 300_000


class Page:
    """One scrape.

    :ivar rows: for each metric, labels and value of each sample.
    """

    def __init__(self, proxy):
        self.rows = {}
        for name, labels, value in _SAMPLE.findall(proxy.ask("/metrics")[1]):
            known = {key.decode(): text.decode() for key, text in _LABEL.findall(labels)}
            self.rows.setdefault(name.decode().removeprefix("smartproxy_"), []).append((known, float(value)))

    def sums(self, metric, label, **wanted):
        """The sums of a metric by a label."""
        sums = Counter()
        for labels, value in self.rows.get(metric, ()):
            if wanted.items() <= labels.items():
                sums[labels[label]] += value
        return sums


def _reset_after_bytes(_backend, sock):
    sock.sendall(sock.recv(1 << 16)[:100])
    reset(sock)


def _bulk(_backend, sock):
    sock.recv(10)
    sock.sendall(bytes(_BULK))


class AccountingCase(TlsCase):
    def assert_agree(self, page, groups):
        """``groups``: for each group the routes that use it."""
        routes = {name: group for group, names in groups.items() for name in names}
        for ours, theirs in (
            ("received_bytes_total", "target_received_bytes_total"),
            ("sent_bytes_total", "target_sent_bytes_total"),
        ):
            of_routes = self.by_group(page.sums(ours, "route"), routes)
            self.assertEqual(page.sums(theirs, "group"), of_routes, ours)

    def by_group(self, of_routes, routes):
        sums = Counter()
        for name, value in of_routes.items():
            sums[routes[name]] += value
        return sums


class LoadTests(AccountingCase):
    """Clients of every kind at once, on both kinds of relay."""

    def setUp(self):
        super().setUp()
        self.pool = [self.backend(echo) for _ in range(2)]
        self.rude = self.backend(_reset_after_bytes)
        self.slow = self.backend(_bulk)
        self.secret = self.backend(in_order(echo), host="127.0.0.1")
        self.ports = {
            name: self.port() for name in ("plain", "secure", "queued", "bulk", "rude", "dead", "hole")
        }

    def settings(self):
        """Two routes share a group; the others have one each."""
        ports, shared = self.ports, {"group": "pool"}
        secure = self.ending("secure", ports["secure"])
        del secure["action"]["targets"]
        secure["action"] |= shared
        plain = route("plain", ports["plain"], action=shared)
        del plain["action"]["targets"]
        queue = {"queue": {"size": 50, "timeout": "20s"}}
        return {
            "targetGroups": {
                "pool": {
                    "targets": [*(one.target for one in self.pool), refusing()],
                    "passiveHealth": {"failures": 1, "ejectFor": "100ms"},
                    "loadBalancing": {"algorithm": "leastConnections"},
                }
            },
            "routes": [
                plain,
                secure,
                route("queued", ports["queued"], {**self.pool[0].target, "maxConnections": 2}, action=queue),
                route("bulk", ports["bulk"], self.slow),
                route("rude", ports["rude"], self.rude),
                route("dead", ports["dead"], refusing(), refusing()),
                route("hole", ports["hole"], blackhole(self), self.pool[1], connectionTimeout="300ms"),
            ],
        }

    def test_sums_agree_while_clients_of_every_kind_come_and_go(self):
        groups = {"pool": ["plain", "secure"]} | {
            name: [name] for name in ("queued", "bulk", "rude", "dead", "hole")
        }
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                for backend in (*self.pool, self.rude, self.slow):
                    backend.accepted = 0
                proxy = self.proxy(**self.settings(), acceleration=acceleration)
                self.load(proxy, groups)
                page = until(lambda: self.settled(proxy), "all of it settled")  # noqa: B023 - this round's
                self.assert_agree(page, groups)
                self.assert_connections_agree(page)
                proxy.stop()

    def settled(self, proxy):
        page = Page(proxy)
        waiting = (
            page.sums("connections_active", "route").total()
            + page.sums("target_queue_length", "group").total()
        )
        return None if waiting else page

    def assert_connections_agree(self, page):
        """Each dial has one result, and those that succeeded are the connections that the backends have accepted."""
        dialed = page.sums("target_connections_total", "group", result="ok")
        accepted = sum(one.accepted for one in (*self.pool, self.rude, self.slow))
        self.assertEqual(dialed.total(), accepted)
        self.assertEqual(page.sums("target_connections_active", "group").total(), 0)
        counted = page.sums("connections_total", "route")
        # The load ends every connection after its target has answered, but for those of routes without a target.
        self.assertEqual(dialed["pool"], counted["plain"] + counted["secure"])
        self.assertEqual((dialed["queued"], dialed["bulk"], dialed["rude"], dialed["hole"]),
                         (counted["queued"], counted["bulk"], counted["rude"], counted["hole"]))  # fmt: skip
        refused = page.sums("target_connections_total", "group", result="refused")
        self.assertEqual(refused["dead"], 2 * counted["dead"])
        self.assertGreater(refused["pool"], 0, "dialed again at another target")
        self.assertGreater(page.sums("target_connections_total", "group", result="timeout")["hole"], 0)

    def load(self, proxy, groups):
        """Run all clients, and compare the pages that are read meanwhile."""
        clients = [
            threading.Thread(target=self.guarded, args=(act, seed))
            for seed, act in enumerate(
                (
                    self.talk,
                    self.talk,
                    self.talk_tls,
                    self.wait_in_queue,
                    self.fetch,
                    self.be_reset,
                    self.be_refused,
                    self.fall,
                )
            )
        ]
        self.failures = []
        for client in clients:
            client.start()
        self.look(proxy, groups, clients)
        for client in clients:
            client.join()
        self.assertEqual(self.failures, [])

    def look(self, proxy, groups, clients):
        """A page is read in slices, so a sum is compared with those of the pages before and after."""
        routes = {name: group for group, names in groups.items() for name in names}
        before = Counter(), Counter()
        while any(client.is_alive() for client in clients):
            page = Page(proxy)
            now = (
                self.by_group(page.sums("received_bytes_total", "route"), routes),
                page.sums("target_received_bytes_total", "group"),
            )
            for group in groups:
                most = max(before[0][group], before[1][group])
                least = min(now[0][group], now[1][group])
                self.assertLessEqual(most, least, f"{group}: a sum has decreased, or is behind by a page")
            before = now
            time.sleep(0.02)

    def guarded(self, act, seed):
        chance = random.Random(seed)
        try:
            for _ in range(_EACH):
                act(chance)
        except BaseException as failure:  # whatever it is, the test must hear of it
            self.failures.append((act.__name__, repr(failure)))

    def ended(self, sock, chance):
        """One of the ends that a client may choose."""
        if chance.random() < 0.4:
            reset(sock)
        else:
            sock.close()

    def talk(self, chance, name="plain"):
        sock = self.connect(self.ports[name])
        self.assert_echoes(sock, bytes(chance.randint(1, 40_000)))
        self.ended(sock, chance)

    def talk_tls(self, chance):
        sock = self.secure(self.ports["secure"])
        self.assert_echoes(sock, bytes(chance.randint(1, 20_000)))
        if chance.random() < 0.5:
            with contextlib.suppress(OSError):
                sock.unwrap()
        sock.close()

    def wait_in_queue(self, chance):
        many = [self.connect(self.ports["queued"]) for _ in range(4)]
        for sock in many:
            sock.sendall(b"words")
        for _ in range(4):
            for sock in list(many):
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    self.assertTrue(sock.recv(5))
                    sock.settimeout(TIMEOUT)
                    many.remove(sock)
                    self.ended(sock, chance)
        for sock in many:
            sock.settimeout(TIMEOUT)
            self.assertTrue(sock.recv(5))
            sock.close()

    def fetch(self, chance):
        sock = self.connect(self.ports["bulk"])
        sock.sendall(b"ask")
        if chance.random() < 0.5:
            self.assertEqual(len(read_to_end(sock)), _BULK)
            sock.close()
        else:
            self.assertTrue(sock.recv(1000))
            reset(sock)

    def be_reset(self, _chance):
        with self.connect(self.ports["rude"]) as sock, contextlib.suppress(ConnectionResetError):
            sock.sendall(b"x" * 200)
            while sock.recv(1000):
                pass

    def be_refused(self, _chance):
        self.assert_refused(self.ports["dead"])

    def fall(self, chance):
        self.talk(chance, "hole")


class EndedByTests(AccountingCase):
    """Ends that the proxy itself decides on."""

    def test_ends_by_operator_check_and_reload_count_once(self):
        backend, checked, front, other, third = (
            self.backend(echo),
            self.backend(echo),
            *(self.port() for _ in range(3)),
        )
        check = {
            "healthCheck": {"interval": "100ms", "fastInterval": "100ms", "fall": 1},
            "whenDown": "reset",
        }
        routes = [
            route("kept", front, backend),
            route("checked", other, checked, action=check),
            route("leaving", third, backend),
        ]
        groups = {name: [name] for name in ("kept", "checked", "leaving")}
        for acceleration in ("auto", "off"):
            with self.subTest(acceleration=acceleration):
                proxy = self.proxy(*routes, acceleration=acceleration, gracefulShutdownTimeout="60s")
                socks = [self.connect(port) for port in (front, other, third)]
                for sock in socks:
                    self.assert_echoes(sock, b"w" * 1000)
                self.assert_agree(Page(proxy), groups)
                (of_kept,) = [one for one in proxy.connections if one["route"] == "kept"]
                proxy.ask(f"/api/v1/connections/{of_kept['id']}", "DELETE")
                self.assert_gone(socks[0])
                settings = json.loads(proxy.file.read_text())
                proxy.file.write_text(json.dumps({**settings, "routes": routes[:2]}))
                self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
                self.assert_echoes(socks[2], b"x" * 500)
                page = Page(proxy)
                self.assert_agree(page, groups)
                self.assertEqual(page.sums("target_connections_active", "group")["leaving"], 1)
                proxy.file.write_text(json.dumps(settings))
                self.assertEqual(proxy.ask("/api/v1/reload", "POST")[0], 200)
                self.assert_echoes(self.connect(third), b"y" * 300)
                page = Page(proxy)
                self.assert_agree(page, groups)
                self.assertEqual(page.sums("target_connections_active", "group")["leaving"], 2)
                self.assertEqual(page.sums("target_received_bytes_total", "group")["leaving"], 1800)
                proxy.stop()

    def test_sessions_that_a_check_resets_count_once(self):
        front, backend = self.port(), self.backend(echo)
        check = {
            "healthCheck": {"interval": "100ms", "fastInterval": "100ms", "fall": 1},
            "whenDown": "reset",
        }
        proxy = self.proxy(route("checked", front, backend, action=check))
        sock = self.connect(front)
        self.assert_echoes(sock, b"w" * 1000)
        backend._listening.close()
        proxy_down = until(lambda: proxy.closed("target_down"), "the reset")
        self.assertEqual(proxy_down, 1)
        page = Page(proxy)
        self.assert_agree(page, {"checked": ["checked"]})
        self.assertEqual(page.sums("target_received_bytes_total", "target").total(), 1000)
        self.assertEqual(page.sums("target_connections_active", "group").total(), 0)
