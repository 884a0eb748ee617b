"""Consistent hashing of the client's address."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

from smartproxy.model.plan import Algorithm
from tests.upstream.grouping import GroupCase, target, weighted

SOURCE = Algorithm.SOURCE
CLIENTS = [f"198.51.{n // 256}.{n % 256}" for n in range(4000)]
ELSEWHERE = """
from tests.upstream.balancing.test_source import SourceTests
tests = SourceTests("test_client_keeps_its_target")
tests.setUp()
print(tests.owners("abcde")["198.51.0.7"])
"""


class SourceCase(GroupCase):
    def owners(self, targets):
        self.configure(targets, SOURCE)
        return {client: self.use(1, client) for client in CLIENTS}


class SourceTests(SourceCase):
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

    def test_place_of_a_client_is_found_once_for_many_ejected_targets(self):
        """Each connection asks for every ejected target that is due whether this client is to probe it."""
        self.configure(weighted(**{f"t{n}": 1 for n in range(100)}), SOURCE)
        for number in range(1, 100):
            self.fail_dial(f"t{number}")
        self.clock.advance(10)
        balancer, placed = self.group._balancer, []
        find = balancer._placed
        self.patch(balancer, "_placed", lambda client: placed.append(client) or find(client))
        self.use(2)
        self.assertEqual(len(placed), 1)

    def test_bounded_load_does_not_end_a_slow_start(self):
        """A target that comes back without connections makes all others look overloaded: it must not get its clients at once."""
        self.configure("abc", SOURCE, slow_start=30.0)
        self.member("a").check(passed=False, now=self.clock.seconds())
        for client in CLIENTS[:400]:
            self.hold(1, client)
        self.clock.advance(60)
        self.member("a").check(passed=True, now=self.clock.seconds())
        self.clock.advance(3)
        used = Counter(self.hold(1, client)[0].name for client in CLIENTS[400:700])
        self.assertLess(used["a"], 30)  # a tenth of its third, and some by chance
        self.assertGreater(min(used["b"], used["c"]), 60)

    def test_thousand_weighted_targets_make_bounded_rings(self):
        self.configure(weighted(**{f"t{n}": 1 + n for n in range(1000)}), SOURCE)
        rings = self.group._balancer._rings
        self.assertLessEqual(len(rings), 10)
        self.assertLess(sum(len(ring.points) for ring in rings), 60_000)
        self.assertIsNotNone(self.group.take("192.0.2.1"))

    def test_a_heavy_target_among_many_light_ones_gets_its_share(self):
        owners = Counter(self.owners(weighted(heavy=1000, **{f"t{n}": 1 for n in range(1000)})).values())
        self.assertLess(abs(owners["heavy"] / len(CLIENTS) - 0.5), 0.1)


class ConsistencyTests(SourceCase):
    """What one target is changes nothing between the others: sessions are lost where a client moves."""

    def moved(self, before, after):
        """From where to where clients move."""
        return {(before[client], after[client]) for client in CLIENTS if before[client] != after[client]}

    def test_removing_one_of_another_weight_moves_its_clients_only(self):
        before = self.owners(weighted(a=10, b=10, c=10, d=10, e=5))
        after = self.owners(weighted(a=10, b=10, c=10, d=10))
        self.assertEqual({owner for owner, _ in self.moved(before, after)}, {"e"})

    def test_adding_one_moves_clients_to_it_only(self):
        before = self.owners(weighted(a=100, b=70, c=3))
        after = self.owners(weighted(a=100, b=70, c=3, d=17))
        self.assertEqual({owner for _, owner in self.moved(before, after)}, {"d"})

    def test_a_lower_weight_moves_as_many_clients_as_it_must(self):
        before = self.owners(weighted(a=10, b=10))
        after = self.owners(weighted(a=9, b=10))
        self.assertEqual(self.moved(before, after), {("a", "b")})
        number = sum(before[client] != after[client] for client in CLIENTS)
        self.assertLess(number / len(CLIENTS), 0.05)

    def test_a_weight_set_by_hand_moves_clients_to_that_target_only(self):
        before = self.owners(weighted(a=10, b=10, c=1))
        self.member("c").set_by_hand(None, 40, 0.0)
        after = {client: self.use(1, client) for client in CLIENTS}
        self.assertEqual({owner for _, owner in self.moved(before, after)}, {"c"})

    def test_a_common_factor_of_all_weights_changes_nothing(self):
        """Weights of SRV records are scaled by one."""
        before = self.owners(weighted(a=1, b=2, c=4))
        self.assertEqual(self.owners(weighted(a=250, b=500, c=1000)), before)

    def test_removing_one_of_a_thousand_moves_few_clients(self):
        """There, targets have fewer points than in a small group, and one target more or less changes their number."""
        names = [f"t{number}" for number in range(1000)]
        before, after = self.owners([target(name) for name in names]), self.owners(map(target, names[:-1]))
        number = sum(before[client] != after[client] for client in CLIENTS)
        self.assertLess(number / len(CLIENTS), 0.01)

    def test_where_a_client_goes_without_its_target_depends_on_weights(self):
        """The clients of an ejected target are spread over the others in proportion to their weights."""
        before = self.owners(weighted(a=10, b=30, c=10))
        self.fail_dial("a")
        during = Counter(self.use(1, client) for client in CLIENTS if before[client] == "a")
        self.assertLess(abs(during["b"] / sum(during.values()) - 0.75), 0.1)
