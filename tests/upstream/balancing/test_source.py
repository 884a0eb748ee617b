"""Consistent hashing of the client's address."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from smartproxy.model.plan import Algorithm
from tests.upstream.grouping import GroupCase, weighted

SOURCE = Algorithm.SOURCE
CLIENTS = [f"198.51.{n // 256}.{n % 256}" for n in range(4000)]
ELSEWHERE = """
from tests.upstream.balancing.test_source import SourceTests
tests = SourceTests("test_client_keeps_its_target")
tests.setUp()
print(tests.owners("abcde")["198.51.0.7"])
"""


class SourceTests(GroupCase):
    def owners(self, targets):
        self.configure(targets, SOURCE)
        return {client: self.use(1, client) for client in CLIENTS}

    def test_client_keeps_its_target(self):
        self.configure("abcde", SOURCE)
        self.assertEqual(len(set(self.use(20, "192.0.2.7"))), 1)

    def test_clients_are_spread_by_weight(self):
        owners = Counter(self.owners(weighted(a=2, b=1, c=1)).values())
        self.assertLess(abs(owners["a"] / len(CLIENTS) - 0.5), 0.08)
        self.assertLess(abs(owners["b"] / len(CLIENTS) - 0.25), 0.08)

    def test_removing_one_of_five_moves_its_clients_only(self):
        before, after = self.owners("abcde"), self.owners("abde")
        moved = [client for client in CLIENTS if before[client] != after[client]]
        self.assertEqual({before[client] for client in moved}, {"c"})
        self.assertLess(abs(len(moved) / len(CLIENTS) - 0.2), 0.06)

    def test_an_ejected_target_moves_its_clients_only_and_gets_them_back(self):
        before = self.owners("abcde")
        self.fail_dial("c")
        during = {client: self.use(1, client) for client in CLIENTS}
        self.assertEqual({before[client] for client in CLIENTS if before[client] != during[client]}, {"c"})
        self.clock.advance(10)
        self.assertEqual({client: self.use(1, client) for client in CLIENTS}, before)

    def test_every_process_agrees(self):
        shown = subprocess.run([sys.executable, "-c", ELSEWHERE], check=True, capture_output=True, text=True)
        self.assertEqual(shown.stdout.strip(), self.owners("abcde")["198.51.0.7"])

    def test_remembered_places_are_bounded_and_change_nothing(self):
        self.configure("abcde", SOURCE)
        asked = [f"10.0.{n // 256}.{n % 256}" for n in range(6000)]
        first = [self.use(1, client) for client in asked]
        self.assertLessEqual(len(self.group._balancer._places), 4096)
        self.assertEqual([self.use(1, client) for client in asked], first)

    def test_one_client_with_many_connections_is_bounded(self):
        """All from one address, as behind a NAT: no target has much more than its share."""
        self.configure("abcd", SOURCE)
        used = Counter(one.name for one in self.hold(400))
        self.assertEqual(len(used), 4)
        self.assertLessEqual(max(used.values()), 126)

    def test_the_last_target_gets_clients_whatever_its_load(self):
        self.configure("ab", SOURCE)
        self.fail_dial("b")
        self.assertEqual([one.name for one in self.hold(50)], ["a"] * 50)

    def test_thousand_weighted_targets_make_a_bounded_ring(self):
        self.configure(weighted(**{f"t{n}": 1 + n for n in range(1000)}), SOURCE)
        self.assertLess(len(self.group._balancer._points), 60_000)
        self.assertIsNotNone(self.group.take("192.0.2.1"))
