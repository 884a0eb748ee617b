"""Target groups of an embedded proxy: the programs of the documentation, in front of targets in memory."""

from __future__ import annotations

from smartproxy import Action, Match, Route, Target
from tests.on_network import NetworkTestCase
from tests.test_documents import DOCS, program

PAGE = DOCS / "embedding.rst"


class BalancerTests(NetworkTestCase):
    def begin(self):
        self.page = program(PAGE, "class SameZone")
        self.backends = {
            host: self.network.backend(host, 9000) for host in ("10.0.0.1", "10.0.0.2", "10.0.0.3")
        }
        self.proxy = self.network.start(self.page["settings"].model_copy(update={"acceleration": "off"}))
        self.addCleanup(lambda: self.network.stop(self.proxy))

    def served(self):
        return [len(self.backends[host].connections) for host in sorted(self.backends)]

    def test_documented_balancer_chooses(self):
        self.begin()
        for _ in range(4):
            self.connect(8080, b"hello")
        self.assertEqual(self.served(), [0, 2, 2])

    def test_groups_states_hold_for_it(self):
        self.begin()
        self.proxy.groups.set_state("app", "eu-1", "drain")
        self.proxy.groups.set_state("app", "eu-2", "down")
        self.connect(8080, b"hello")
        self.assertEqual(self.served(), [1, 0, 0])

    def test_it_survives_a_reload(self):
        self.begin()
        made = []
        kind = self.page["SameZone"]

        class Counted(kind):
            def __init__(self, group):
                made.append(group)
                super().__init__(group)

        def routes(port):
            targets = [Target(name=f"eu-{number}", host=f"10.0.0.{number}", port=9000) for number in (1, 2)]
            action = Action(targets=targets, load_balancing={"algorithm": Counted})
            return [Route(name="app", match=Match(ports=port), action=action)]

        self.update(*routes(8081))
        self.update(*routes(8082))
        self.assertEqual(made, ["app"])
        self.connect(8082, b"hello")
        self.connect(8082, b"hello")
        self.assertEqual(self.served(), [1, 1, 0])

    def test_what_it_raises_ends_one_connection(self):
        self.begin()
        kind = self.page["SameZone"]
        choose = kind.choose
        kind.choose = lambda *_: 1 / 0
        client = self.connect(8080, b"hello")
        self.network.run(0.3)
        self.assertTrue(client.gone)
        self.assertEqual(self.proxy.metrics.closed()["error"], 1)
        self.assertEqual(self.failures(), [ZeroDivisionError])
        kind.choose = choose
        self.connect(8080, b"hello")
        self.assertEqual(self.served(), [0, 1, 0])


class EventTests(NetworkTestCase):
    def test_documented_alarms(self):
        self.start()
        alarms = []
        page = program(PAGE, "def watch(")
        page["watch"](self.proxy, alarms)
        self.backend.close()
        self.connect(said=b"hello")
        self.assertEqual(alarms, ["web/10.0.0.5:9000 is ejected: connections fail", "web has no target"])
        page["maintain"](self.proxy, "10.0.0.5:9000")
        self.assertEqual([target.state for target in self.proxy.groups.targets("web")], ["drain"])
        self.assertEqual(list(self.proxy.groups), ["web"])

    def test_callable_may_set_states_and_fail(self):
        """Of the target whose change is reported, too; the others are called, and the path of the connection goes on."""
        self.start()
        seen = []

        def drain(target, before):
            seen.append((before, target.state))
            if target.state == "ejected":
                self.proxy.groups.set_state(target.group, target.name, "drain")

        self.proxy.groups.on_change += [lambda *_: 1 / 0, drain]
        self.backend.close()
        client = self.connect(said=b"hello")
        self.assertTrue(client.ended)
        self.assertEqual(seen, [("up", "ejected"), ("ejected", "drain")])
        self.assertEqual(self.failures(), [ZeroDivisionError] * 2)
        self.proxy.groups.on_change.clear()
        self.proxy.groups.set_state("web", "10.0.0.5:9000", "up")
        self.assertEqual([target.state for target in self.proxy.groups.targets("web")], ["up"])

    def test_changes_are_reported_in_their_order_to_each_callable(self):
        """One that follows the state of a target would end with the former one."""
        self.start()
        seen = []

        def readmit(target, before):
            if target.state == "down":
                self.proxy.groups.set_state(target.group, target.name, "up")

        self.proxy.groups.on_change += [readmit, lambda target, before: seen.append((before, target.state))]
        self.proxy.groups.set_state("web", "10.0.0.5:9000", "down")
        self.assertEqual(seen, [("up", "down"), ("down", "up")])
        self.assertEqual([target.state for target in self.proxy.groups.targets("web")], ["up"])
