"""Balancing, limits, backups, slow start and failed checks: beside HAProxy, which must do the same."""

from __future__ import annotations

import select
import time
from collections import Counter

from tests.live.backends import Backend, reset
from tests.live.balancing import BalancingCase, greeting
from tests.live.haproxy import queued
from tests.live.waiting import PATIENCE, until

_SOURCE = {"loadBalancing": {"algorithm": "source"}}
_CHECK = {"interval": "250ms", "fastInterval": "100ms", "rise": 2, "fall": 2}
_THEIR_CHECK = "check inter 250ms fastinter 100ms rise 2 fall 2"
#: Seconds of a slow start.
_RAMP = 4
#: Addresses of clients.
_CLIENTS = [f"127.1.{n // 8}.{n % 8 + 1}" for n in range(96)]


class AlgorithmTests(BalancingCase):
    def test_round_robin_spreads_by_weight_within_each_turn(self):
        """Of each six connections, three, two and one; never three in a row of the same."""
        servers = [
            self.server(name, f"weight {weight}", weight=weight)
            for name, weight in (("a", 3), ("b", 2), ("c", 1))
        ]
        for name, port in self.both(servers, {}, ["balance roundrobin"]):
            with self.subTest(proxy=name):
                used = self.used(port, 36)
                turns = [Counter(used[start : start + 6]) for start in range(0, 36, 6)]
                self.assertEqual(turns, [{"a": 3, "b": 2, "c": 1}] * 6)
                self.assertNotIn("aaa", used[:6])

    def test_least_connections_fills_by_weight(self):
        """Connections that stay open: twice as many where the weight is two, and where one ends the next one goes."""
        servers = [self.server("a", "weight 2", weight=2), self.server("b", "weight 1", weight=1)]
        ours = {"loadBalancing": {"algorithm": "leastConnections"}}
        for name, port in self.both(servers, ours, ["balance leastconn"]):
            with self.subTest(proxy=name):
                held = [self.answered(port) for _ in range(9)]
                self.assertEqual(Counter(server for _, server in held), {"a": 6, "b": 3})
                for sock, server in held:
                    if server == "b":
                        sock.close()
                # The proxy may see these ends later than the next connection: until it does, a is chosen at times.
                until(lambda port=port: self.used(port, 3) == "bbb", "the next ones for b")

    def test_random_prefers_the_idler_one(self):
        """With the better of two drawn from two, the one that holds nothing gets nearly all."""
        servers = [self.server("a"), self.server("b")]
        ours = {"loadBalancing": {"algorithm": "random"}}
        for name, port in self.both(servers, ours, ["balance random(2)"]):
            with self.subTest(proxy=name):
                held = [self.answered(port) for _ in range(40)]
                counts = Counter(server for _, server in held)
                self.assertGreater(min(counts.values()), 12)

    def test_first_fills_one_after_the_other(self):
        """The next one is used only while all before it are at their limit."""
        servers = [
            self.server(name, "maxconn 2 id " + number, maxConnections=2)
            for name, number in (("a", "10"), ("b", "11"), ("c", "12"))
        ]
        ours = {"loadBalancing": {"algorithm": "first"}}
        for name, port in self.both(servers, ours, ["balance first"]):
            with self.subTest(proxy=name):
                self.assertEqual("".join(self.answered(port)[1] for _ in range(5)), "aabbc")


class SourceTests(BalancingCase):
    def owners(self, port):
        return {client: self.used(port, 1, client) for client in _CLIENTS}

    def test_removing_one_of_five_moves_about_a_fifth(self):
        """Only its own clients move, in both; another process of ours agrees about all of them."""
        servers = [self.server(name, f"id {number}") for number, name in enumerate("abcde", 1)]
        fewer = [one for one in servers if one.name != "c"]  # HAProxy hashes their numbers
        before = self.both(servers, _SOURCE, ["balance source", "hash-type consistent"])
        after = self.both(fewer, _SOURCE, ["balance source", "hash-type consistent"])
        for (name, port), (_, other) in zip(before, after, strict=True):
            with self.subTest(proxy=name):
                owners = self.owners(port)
                self.assertEqual(set(owners.values()), set("abcde"))
                self.assertEqual(self.owners(port), owners)
                now = self.owners(other)
                moved = [client for client in _CLIENTS if now[client] != owners[client]]
                self.assertEqual({owners[client] for client in moved}, {"c"})
                self.assertLess(len(moved), 0.4 * len(_CLIENTS))

    def test_a_restart_and_another_process_agree(self):
        servers = [self.server(name) for name in "abcde"]
        first, second = (self.our_port(servers, _SOURCE) for _ in range(2))
        self.assertEqual(self.owners(first), self.owners(second))


class LimitTests(BalancingCase):
    def test_clients_wait_in_order_while_the_target_is_full(self):
        """First in, first out; one that resets leaves the queue."""
        servers = [self.server("a", "maxconn 1", maxConnections=1)]
        ours = {"queue": {"size": 10, "timeout": "20s"}}
        for name, port in self.both(servers, ours, ["timeout queue 20s"]):
            with self.subTest(proxy=name):
                holding, _ = self.answered(port)
                waiting = []
                for _ in range(4):
                    waiting.append(self.connect(port))
                    self._are_queued(name, port, len(waiting))
                reset(waiting.pop(1))
                if name == "smartproxy":  # HAProxy notices it when its turn comes
                    self._are_queued(name, port, 3)
                while waiting:
                    holding.close()
                    self.assertEqual(self._answered(waiting), waiting[0])
                    holding = waiting.pop(0)

    def _are_queued(self, name, port, count):
        def look():
            if name == "haproxy":
                return queued(self, port) == count
            return self.ours.api("targets")["targets"][0]["queued"] == count

        until(look, f"{count} in the queue of {name}")

    def _answered(self, waiting):
        """The client that has an answer; the test fails where several have one."""
        readable, _, _ = select.select(waiting, [], [], PATIENCE)
        self.assertEqual([self.read(sock, 1) for sock in readable], [b"a"])
        return readable[0]

    def test_client_that_waits_too_long_is_refused(self):
        servers = [self.server("a", "maxconn 1", maxConnections=1)]
        ours = {"queue": {"size": 10, "timeout": "300ms"}}
        for name, port in self.both(servers, ours, ["timeout queue 300ms"]):
            with self.subTest(proxy=name):
                self.answered(port)
                began = time.monotonic()
                self.assert_refused(port)
                self.assertGreater(time.monotonic() - began, 0.25)

    def test_limit_spreads_over_the_group(self):
        servers = [self.server(name, "maxconn 2", maxConnections=2) for name in "ab"]
        ours = {"queue": {"size": 10, "timeout": "300ms"}}
        for name, port in self.both(servers, ours, ["timeout queue 300ms"]):
            with self.subTest(proxy=name):
                held = [self.answered(port) for _ in range(4)]
                self.assertEqual(Counter(server for _, server in held), {"a": 2, "b": 2})
                self.assert_refused(port)


class FailingTests(BalancingCase):
    """Servers that end while they are checked four times a second."""

    def stopped(self, server):
        """End the backend of ``server``."""
        self.backends[server.port].close()

    def server(self, name, theirs="", **ours):
        return super().server(name, f"{_THEIR_CHECK} {theirs}", **ours)

    def is_found(self, server, state):
        """Wait until our proxy shows ``server`` in this state."""

        def shown():
            targets = self.ours.api("targets")["targets"]
            return [one["state"] for one in targets if one["name"] == server.name] == [state]

        until(shown, f"{server.name} being {state}")

    def backend(self, serve, **options):
        made = super().backend(serve, **options)
        self.__dict__.setdefault("backends", {})[made.port] = made
        return made

    def test_backups_serve_while_no_other_is_up(self):
        """Both backups together; and as soon as the first one is back, only that."""
        main = self.server("a")
        backups = [self.server(name, "backup", backup=True) for name in "bc"]
        proxies = self.both([main, *backups], {"healthCheck": _CHECK}, ["option allbackups"])
        for name, port in proxies:
            with self.subTest(proxy=name):
                self.assertEqual(self.used(port, 4), "aaaa")
        self.stopped(main)
        for name, port in proxies:
            with self.subTest(proxy=name):
                until(lambda port=port: self._served_by(port, 4) == {"b", "c"}, "the backups")
        self._back(main)
        for name, port in proxies:
            with self.subTest(proxy=name):
                until(lambda port=port: self._served_by(port, 4) == {"a"}, "the first one again")

    def _served_by(self, port, count):
        """The names of the servers of some connections; without a name where one was refused meanwhile."""
        names = set()
        for _ in range(count):
            try:
                names.add(self.connect(port).recv(1).decode())
            except ConnectionResetError:
                names.add("")
        return names

    def _back(self, server):
        """A backend on the port of one that was stopped."""
        self.backends[server.port] = Backend(greeting(server.name), port=server.port)
        self.addCleanup(self.backends[server.port].close)

    def test_sessions_of_a_target_that_is_down_are_ended(self):
        """``whenDown: reset`` and ``on-marked-down shutdown-sessions``; without them, sessions go on."""
        self.check_ends({"whenDown": "reset"}, "on-marked-down shutdown-sessions", ended=True)
        self.check_ends({}, "", ended=False)

    def check_ends(self, ours, theirs, *, ended):
        checked = self.port_of_checks()
        servers = [
            super().server("a", f"{_THEIR_CHECK} port {checked.port} {theirs}"),
        ]
        action = {"healthCheck": {**_CHECK, "port": checked.port}, **ours}
        proxies = self.both(servers, action, [])
        held = [(name, port, self.answered(port)[0]) for name, port in proxies]
        checked.close()
        self.is_found(servers[0], "down")
        for name, _, sock in held:
            with self.subTest(proxy=name, ended=ended):
                if ended:
                    self.assert_gone(sock)
                else:
                    self.assert_echoes(sock)
        if ended:
            self.ours.emptied()
            self.assertEqual(self.ours.closed("target_down"), 1)

    def port_of_checks(self):
        """A backend that only checks connect to."""
        return self.backend(greeting("-"))

    def test_target_that_comes_back_starts_slowly(self):
        """Of 40 connections right after it is up, it gets less than its share; at the end of the ramp, half."""
        servers = [self.server("a", f"slowstart {_RAMP}s"), self.server("b", f"slowstart {_RAMP}s")]
        ours = {"healthCheck": _CHECK, "passiveHealth": False, "loadBalancing": {"slowStart": f"{_RAMP}s"}}
        proxies = self.both(servers, ours, ["balance roundrobin"])
        for name, port in proxies:
            with self.subTest(proxy=name):
                self.assertEqual(Counter(self.used(port, 8)), {"a": 4, "b": 4})
        running = servers[0]
        for name, port in proxies:
            with self.subTest(proxy=name):
                self.stopped(running)
                until(lambda port=port: self._served_by(port, 4) == {"b"}, "a being down")
                self.is_found(running, "down")
                began = time.monotonic()
                self._back(running)
                until(lambda port=port: "a" in self.used(port, 4), "a being up")
                share = Counter(self.used(port, 40))["a"] / 40
                ramp = min((time.monotonic() - began) / _RAMP, 1)
                self.assertLess(share, ramp / (1 + ramp) + 0.05)
                until(lambda port=port: self.used(port, 8).count("a") == 4, "half of them again")
