"""SmartProxy, the service: start, drain and stop, changes of its configuration, and its status."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.admin.control import IProxyControl
from smartproxy.errors import ConfigurationError
from smartproxy.model.outcome import CloseReason
from smartproxy.proxy.service import SmartProxy
from smartproxy.settings import Settings
from tests.sessions.house import HeldNetwork, House, route, settings

TWO = [route("web"), route("mail", port=2525, hosts="10.0.0.25")]


class LifecycleTests(SynchronousTestCase):
    def test_provides_its_interfaces(self):
        house = House(self)
        verifyObject(IService, house.proxy)
        verifyObject(IProxyControl, house.proxy)

    def test_ports_are_bound_before_privileges_are_dropped(self):
        network = HeldNetwork()
        proxy = SmartProxy(settings(), network)
        proxy.privilegedStartService()
        self.assertEqual(network.listening_on(), {8080})
        self.assertFalse(proxy.running)
        proxy.startService()
        self.assertEqual(network.listening_on(), {8080})
        stopped = proxy.stopService()
        network.advance(0)
        self.successResultOf(stopped)
        self.assertFalse(proxy.running)

    def test_service_can_be_added_to_an_application(self):
        house = House(self)
        application = MultiService()
        house.proxy.setServiceParent(application)
        self.assertIs(application.getServiceNamed("smartproxy"), house.proxy)

    def test_port_in_use_raises_and_leaves_no_port_bound(self):
        network = HeldNetwork()
        network.occupy(8081)
        proxy = SmartProxy(settings(routes=[route(), route("b", port=8081)]), network)
        self.assertRaises(CannotListenError, proxy.privilegedStartService)
        network.advance(0)
        self.assertEqual(network.listening_on(), set())
        self.successResultOf(proxy.stopService())

    def test_stop_without_connections_closes_the_ports_at_once(self):
        house = House(self)
        stopped = house.proxy.stopService()
        self.assertNoResult(stopped)
        house.network.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(house.network.listening_on(), set())

    def test_stop_waits_for_open_connections(self):
        house = House(self)
        client = house.client()
        backend = house.backend()
        stopped = house.proxy.stopService()
        house.pass_time(10)
        self.assertNoResult(stopped)
        self.assertEqual(house.proxy.status()["state"], "draining")
        client.write(b"last words")
        client.fin()
        house.settle()
        backend.fin()
        house.settle()
        self.successResultOf(stopped)
        self.assertEqual((backend.received, house.closed()), (b"last words", {"normal": 1}))

    def test_stop_ends_connections_after_the_grace_period(self):
        house = House(self, gracefulShutdownTimeout="2s")
        client = house.client()
        house.backend()
        dialling = house.client("192.0.2.2")
        stopped = house.proxy.stopService()
        house.pass_time(1.9)
        self.assertNoResult(stopped)
        house.pass_time(0.2)
        self.successResultOf(stopped)
        self.assertEqual((client.was_reset, dialling.was_reset), (True, True))
        self.assertEqual(house.closed(), {"shutdown": 2})
        house.assert_empty()

    def test_stop_without_grace_period_ends_all_at_once(self):
        house = House(self, gracefulShutdownTimeout=0)
        house.client()
        house.backend()
        stopped = house.proxy.stopService()
        house.settle()
        self.successResultOf(stopped)
        self.assertEqual(house.closed(), {"shutdown": 1})

    def test_drain_refuses_new_connections_and_keeps_open_ones(self):
        house = House(self)
        client = house.client()
        backend = house.backend()
        listener = house.network.ports["::", 8080]
        house.proxy.drain()
        house.proxy.drain()
        # A connection that the kernel had accepted before the socket was closed.
        self.assertIsNone(listener.factory.buildProtocol(listener.getHost()))
        self.assertEqual(house.rejected(), {"draining": 1})
        house.settle()
        self.assertEqual(house.network.listening_on(), set())
        client.write(b"goes on")
        house.settle()
        self.assertEqual(backend.received, b"goes on")


class ChangeTests(SynchronousTestCase):
    def change(self, house, routes):
        changed = house.proxy.update_routes(routes)
        house.settle()
        return changed

    def names(self, house):
        return [plan.name for plan in house.proxy.plan.routes]

    def test_new_routes_apply_to_new_connections(self):
        house = House(self)
        old = house.client()
        old_backend = house.backend()
        self.successResultOf(self.change(house, [route("new", hosts="10.0.0.2")]))
        house.client("192.0.2.2")
        self.assertEqual(house.dialled(), "10.0.0.2:9000")
        old.write(b"goes on")
        house.settle()
        self.assertEqual(old_backend.received, b"goes on")
        self.assertEqual({record.route for record in house.proxy.connections}, {"web", "new"})
        self.assertEqual(house.network.listening_on(), {8080})

    def test_connection_in_detection_keeps_the_routes_it_began_with(self):
        house = House(self, routes=[route(match={"domains": ["a.example"]})])
        client = house.client()
        self.successResultOf(self.change(house, [route("new", hosts="10.0.0.2")]))
        client.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        house.settle()
        self.assertEqual((house.dialled(), house.record.route), ("10.0.0.1:9000", "web"))

    def test_update_opens_new_ports_and_closes_unused_ones(self):
        house = House(self)
        self.successResultOf(self.change(house, TWO))
        self.assertEqual(house.network.listening_on(), {8080, 2525})
        self.assertEqual(set(house.proxy.addresses()), {("", 8080), ("", 2525)})
        self.successResultOf(self.change(house, TWO[1:]))
        self.assertEqual(house.network.listening_on(), {2525})
        house.client(port=2525)
        self.assertEqual(house.dialled(), "10.0.0.25:9000")

    def test_invalid_change_changes_nothing(self):
        house = House(self)
        before = house.proxy.plan
        for bad in (
            [route("a"), route("a", port=81)],
            [{"name": "b"}],
            [route(port=70000)],
            [route(match={"nonsense": 1})],
        ):
            changed = self.change(house, bad)
            self.assertTrue(self.failureResultOf(changed, ConfigurationError).value.problems)
            self.assertIs(house.proxy.plan, before)
        house.client()
        self.assertEqual(house.dialled(), "10.0.0.1:9000")
        self.assertEqual(house.network.listening_on(), {8080})

    def test_change_with_a_port_in_use_changes_nothing(self):
        house = House(self)
        before = house.proxy.plan
        house.network.occupy(2525)
        others = [route("other", port=1000), route("web", hosts="10.0.0.9"), route("mail", port=2525)]
        self.failureResultOf(self.change(house, others), CannotListenError)
        self.assertIs(house.proxy.plan, before)
        self.assertEqual(house.network.listening_on(), {8080})
        house.client()
        self.assertEqual(house.dialled(), "10.0.0.1:9000")

    def test_later_of_two_changes_is_in_force(self):
        """Closing the port of the first change takes time; the second change must not be overwritten by it."""
        house = House(self, routes=TWO)
        first = house.proxy.update_routes([route("first")])
        second = house.proxy.update_routes([route("second", hosts="10.0.0.2")])
        house.settle()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.names(house), ["second"])
        house.client()
        self.assertEqual(house.dialled(), "10.0.0.2:9000")

    def test_admin_may_spell_routes_as_in_a_file(self):
        house = House(self)
        replaced = house.proxy.replace_routes([route("new")])
        house.settle()
        self.successResultOf(replaced)
        self.assertEqual(self.names(house), ["new"])

    def test_change_before_start_is_applied_at_start(self):
        network = HeldNetwork()
        proxy = SmartProxy(settings(), network)
        self.successResultOf(proxy.update_routes([route("later", port=81)]))
        self.assertEqual(network.listening_on(), set())
        proxy.startService()
        self.assertEqual(network.listening_on(), {81})
        stopped = proxy.stopService()
        network.advance(0)
        self.successResultOf(stopped)

    def test_change_while_draining_opens_no_port(self):
        house = House(self)
        house.proxy.drain()
        house.settle()
        self.successResultOf(self.change(house, TWO))
        self.assertEqual(house.network.listening_on(), set())


class ReloadTests(SynchronousTestCase):
    def house(self, text):
        self.path = Path(self.mktemp() + ".yaml")
        self.write(text)
        return House(self, Settings.load(self.path))

    def write(self, text):
        self.path.write_text("acceleration: 'off'\n" + text)

    def reload(self, house, text):
        self.write(text)
        reloaded = house.proxy.reload()
        house.settle()
        return reloaded

    def test_reload_applies_the_changed_file(self):
        house = self.house(_YAML)
        self.successResultOf(self.reload(house, _YAML.replace("10.0.0.1", "10.0.0.2")))
        house.client()
        self.assertEqual(house.dialled(), "10.0.0.2:9000")

    def test_invalid_file_changes_nothing(self):
        """An operator's typing error must not take a running proxy down; the error names the file and line."""
        house = self.house(_YAML)
        problem = self.failureResultOf(self.reload(house, _YAML + "nonsense: 1\n"), ConfigurationError)
        self.assertIn(".yaml:", str(problem.value))
        house.client()
        self.assertEqual(house.dialled(), "10.0.0.1:9000")

    def test_reload_changes_limits(self):
        house = self.house(_YAML + "maxConnections: 1\n")
        house.client()
        self.assertTrue(house.client().ended)
        self.successResultOf(self.reload(house, _YAML + "maxConnections: 2\n"))
        self.assertFalse(house.client().ended)
        self.assertTrue(house.client().ended)

    def refusals(self, house, count):
        before = house.rejected().get("rate_limit", 0)
        for _ in range(count):
            house.client()
        return house.rejected().get("rate_limit", 0) - before

    def test_reload_with_unchanged_rate_keeps_its_window(self):
        house = self.house(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(house, 3), 0)
        self.successResultOf(self.reload(house, _YAML + "connectionRateLimitPerMinute: 3\n"))
        self.assertEqual(self.refusals(house, 2), 2)

    def test_changed_rate_applies_at_once_and_keeps_its_window(self):
        house = self.house(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(house, 4), 1)
        self.successResultOf(self.reload(house, _YAML + "connectionRateLimitPerMinute: 5\n"))
        self.assertEqual(self.refusals(house, 6), 4)

    def test_removed_rate_limit_no_longer_applies(self):
        house = self.house(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(house, 4), 1)
        self.successResultOf(self.reload(house, _YAML))
        self.assertEqual(self.refusals(house, 20), 0)

    def test_settings_without_a_file_cannot_be_reloaded(self):
        house = House(self)
        self.failureResultOf(house.proxy.reload(), ConfigurationError)


class StatusTests(SynchronousTestCase):
    def test_status_has_state_routes_connections_and_listeners(self):
        house = House(self, routes=TWO)
        house.client()
        house.pass_time(2)
        status = house.proxy.status()
        self.assertEqual(status["uptimeSeconds"], 2)
        self.assertEqual(
            {key: status[key] for key in ("state", "routes", "connections", "acceleration")},
            {"state": "running", "routes": 2, "connections": 1, "acceleration": "off"},
        )
        self.assertEqual(status["listeners"], ["[::]:2525", "[::]:8080"])

    def test_connections_lists_the_open_ones(self):
        house = House(self)
        house.client()
        (record,) = house.proxy.connections
        self.assertEqual((record.listener, record.route), (":8080", "web"))
        self.assertFalse(house.proxy.end_connection(99))
        record.owner.abort(CloseReason.ADMIN)
        house.settle()
        self.assertEqual(house.proxy.connections, [])


_YAML = """
routes:
  - name: web
    match: {ports: [8080]}
    action: {type: forward, targets: [{host: 10.0.0.1, port: 9000}]}
"""
