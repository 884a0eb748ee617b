"""Checks of targets belong to a proxy that runs."""

from __future__ import annotations

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from smartproxy import Route, Settings, SmartProxy
from tests.on_network import HOST, NetworkTestCase

CHECKED = {"interval": "1s", "fall": 1}


def checked(check=CHECKED, ports=80):
    action = {"targets": [{"host": HOST, "port": port} for port in (9000, 9001)], "healthCheck": check}
    return Route(name="web", match={"ports": ports}, action=action)


class NotRunningTests(NetworkTestCase):
    def checks_in(self, seconds):
        before = len(self.backend.connections)
        self.network.run(seconds)
        return len(self.backend.connections) - before

    def make(self, **more):
        self.proxy = SmartProxy(Settings(routes=[checked()], acceleration="off", **more), self.network)

    def test_change_before_the_start_begins_no_checks(self):
        self.make()
        self.update(checked(ports=81))
        self.assertEqual((self.checks_in(5), self.network.getDelayedCalls()), (0, []))

    def test_failed_start_ends_the_checks(self):
        """The admin listener is bound behind the others."""
        taken = self.network.listenTCP(8404, Factory(), interface="127.0.0.1")
        self.make(admin=True)
        self.assertRaises(CannotListenError, self.proxy.startService)
        self.assertEqual((self.checks_in(5), self.network.getDelayedCalls()), (0, []))
        taken.stopListening()
        self.proxy.startService()
        self.addCleanup(self.network.stop, self.proxy)
        self.assertGreater(self.checks_in(5), 2)

    def test_change_behind_the_stop_begins_no_checks(self):
        self.start(checked())
        self.network.stop(self.proxy)
        self.update(checked(ports=81))
        self.assertEqual((self.checks_in(5), self.network.getDelayedCalls()), (0, []))
        self.proxy.startService()
        self.assertGreater(self.checks_in(5), 2)

    def test_change_while_it_drains_is_checked(self):
        """Connections are still open, which ``whenDown: reset`` may have to end."""
        self.start(checked(check=False))
        self.connect()
        self.proxy.stopService()
        self.update(checked())
        self.assertGreater(self.checks_in(5), 2)

    def test_target_that_was_down_at_the_stop_is_up_where_it_is_not_checked_any_more(self):
        self.start(checked())
        self.network.run(3)
        self.assertEqual(self.states(), ["up", "down"])
        self.network.stop(self.proxy)
        self.proxy.startService()
        self.assertEqual(self.states(), ["up", "down"])
        self.network.stop(self.proxy)
        self.update(checked(check=False))
        self.proxy.startService()
        self.assertEqual(self.states(), ["up", "up"])

    def states(self):
        return [shown.state for shown in self.proxy.groups.targets("web")]
