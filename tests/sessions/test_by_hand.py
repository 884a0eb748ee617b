"""States and weights that an operator sets, through a whole proxy: what new connections and established ones get."""

from __future__ import annotations

from tests.on_network import HOST, NetworkTestCase
from tests.sessions.memory_proxy import route

OTHER = "10.0.0.6"


def web(*targets, **action):
    return route("web", port=80, action={"targets": [{"port": 9000, **one} for one in targets], **action})


class ByHandTests(NetworkTestCase):
    def setUp(self):
        super().setUp()
        self.other = self.network.backend(OTHER, 9000)
        self.start(web({"name": "one", "host": HOST}, {"name": "two", "host": OTHER}))

    def served(self):
        return len(self.backend.connections), len(self.other.connections)

    def use(self, times):
        for _ in range(times):
            self.connect(said=b"hello")

    def shown(self, name="one"):
        (target,) = [target for target in self.proxy.groups.targets("web") if target.name == name]
        return target

    def rejected(self, reason):
        return self.proxy.metrics.rejected()[reason]

    def test_drain_and_down_keep_established_connections(self):
        for state in ("drain", "down"):
            client = self.connect(said=b"hello")
            target, far, other = (
                ("one", self.backend, 1) if len(self.backend.connections) else ("two", self.other, 0)
            )
            held, served = self.shown(target).connections, self.served()
            self.proxy.groups.set_state("web", target, state)
            client.write(b" again")
            self.use(2)
            self.assertEqual(far.connections[-1].received, b"hello again")
            self.assertEqual(self.shown(target).connections, held)
            self.assertEqual(self.served()[other], served[other] + 2)
            self.proxy.groups.set_state("web", target, "up")
            self.setUp()

    def test_all_set_by_hand_is_a_refusal(self):
        """What an operator has set wins over "when all are down, all are tried"."""
        self.proxy.groups.set_state("web", "one", "down")
        self.proxy.groups.set_state("web", "two", "drain")
        client = self.connect(said=b"hello")
        self.assertTrue(client.ended)
        self.assertEqual((self.rejected("no_target"), self.served()), (1, (0, 0)))

    def test_weight_0_for_all_is_a_refusal(self):
        for name in ("one", "two"):
            self.proxy.groups.set_weight("web", name, 0)
        client = self.connect(said=b"hello")
        self.assertTrue(client.ended)
        self.assertEqual((self.rejected("no_target"), self.served()), (1, (0, 0)))
        shown = self.shown()
        self.assertEqual(
            (shown.state, shown.weight, shown.effective_weight, shown.set_by_hand), ("up", 0, 0, True)
        )
        self.proxy.groups.set_weight("web", "two", None)
        self.use(2)
        self.assertEqual(self.served(), (0, 2))

    def test_target_set_down_is_not_tried_when_the_others_fail(self):
        self.proxy.groups.set_state("web", "one", "down")
        self.other.close()
        self.use(3)
        self.assertEqual(self.served(), (0, 0))
        self.assertEqual(self.rejected("upstream_refused"), 3)

    def test_reload_keeps_what_was_set(self):
        self.proxy.groups.set_state("web", "one", "drain")
        self.proxy.groups.set_weight("web", "two", 7)
        self.update(web({"name": "one", "host": HOST}, {"name": "two", "host": OTHER, "weight": 2}))
        self.assertEqual((self.shown().state, self.shown().set_by_hand), ("drain", True))
        self.assertEqual((self.shown("two").weight, self.shown("two").set_by_hand), (7, True))
        self.proxy.groups.set_weight("web", "two", None)
        self.assertEqual((self.shown("two").weight, self.shown("two").set_by_hand), (2, False))

    def test_up_ends_an_ejection(self):
        self.backend.close()
        self.use(2)
        self.assertEqual(self.shown().state, "ejected")
        self.proxy.groups.set_state("web", "one", "up")
        self.assertEqual((self.shown().state, self.shown().set_by_hand), ("up", False))

    def test_up_leaves_a_target_down_that_a_check_finds_down(self):
        self.backend.close()
        self.update(
            web(
                {"name": "one", "host": HOST},
                {"name": "two", "host": OTHER},
                healthCheck={"interval": "1s", "fall": 1},
            )
        )
        self.network.run(2)
        self.proxy.groups.set_state("web", "one", "up")
        self.assertEqual((self.shown().state, self.shown().last_check.ok), ("down", False))

    def test_when_down_reset_is_for_checks_only(self):
        self.update(
            web(
                {"name": "one", "host": HOST},
                {"name": "two", "host": OTHER, "backup": True},
                whenDown="reset",
            )
        )
        client = self.connect(said=b"hello")
        self.proxy.groups.set_state("web", "one", "down")
        self.network.run(2)
        self.assertFalse(client.gone)

    def test_backup_serves_while_the_others_are_drained(self):
        self.update(web({"name": "one", "host": HOST}, {"name": "two", "host": OTHER, "backup": True}))
        self.proxy.groups.set_state("web", "one", "drain")
        self.use(2)
        self.assertEqual(self.served(), (0, 2))

    def test_waiting_clients_are_refused_when_all_are_set_down(self):
        self.update(
            web({"name": "one", "host": HOST, "maxConnections": 1}, queue={"size": 5, "timeout": "60s"})
        )
        self.use(1)
        waiting = self.connect(said=b"hello")
        self.assertEqual(self.shown().queued, 1)
        self.proxy.groups.set_state("web", "one", "drain")
        self.network.settle()
        self.assertTrue(waiting.ended)
        self.assertEqual(self.rejected("no_target"), 1)

    def test_metric_is_0_while_set_to_drain_or_down(self):
        for state, value in (("drain", False), ("down", False), ("up", True)):
            self.proxy.groups.set_state("web", "one", state)
            (counted,) = [one for one in self.proxy.groups.target_counts() if one.name == "one"]
            self.assertEqual(counted.up, value, state)
