"""SmartProxy, the service: start, drain and stop, changes of its configuration, and its status."""

from __future__ import annotations

from pathlib import Path

from twisted.application.service import IService, MultiService
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy._version import BUILD, __version__
from smartproxy.errors import ConfigurationError, NotAutomatic, UnknownCertificate
from smartproxy.model.outcome import CloseReason
from smartproxy.proxy.service import SmartProxy
from smartproxy.settings import Settings
from tests.sessions.memory_proxy import HeldNetwork, MemoryProxy, route, settings

TWO = [route("web"), route("mail", port=2525, hosts="10.0.0.25")]


class LifecycleTests(SynchronousTestCase):
    def test_provides_iservice(self):
        proxy = MemoryProxy(self)
        verifyObject(IService, proxy.service)

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
        proxy = MemoryProxy(self)
        application = MultiService()
        proxy.service.setServiceParent(application)
        self.assertIs(application.getServiceNamed("smartproxy"), proxy.service)

    def test_port_in_use_raises_and_leaves_no_port_bound(self):
        network = HeldNetwork()
        network.occupy(8081)
        proxy = SmartProxy(settings(routes=[route(), route("b", port=8081)]), network)
        self.assertRaises(CannotListenError, proxy.privilegedStartService)
        network.advance(0)
        self.assertEqual(network.listening_on(), set())
        self.successResultOf(proxy.stopService())

    def test_stop_without_connections_closes_the_ports_at_once(self):
        proxy = MemoryProxy(self)
        stopped = proxy.service.stopService()
        self.assertNoResult(stopped)
        proxy.network.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(proxy.network.listening_on(), set())

    def test_stop_waits_for_open_connections(self):
        proxy = MemoryProxy(self)
        client = proxy.client()
        backend = proxy.backend()
        stopped = proxy.service.stopService()
        proxy.pass_time(10)
        self.assertNoResult(stopped)
        self.assertEqual(proxy.service.status()["state"], "draining")
        client.write(b"last words")
        client.fin()
        proxy.settle()
        backend.fin()
        proxy.settle()
        self.successResultOf(stopped)
        self.assertEqual((backend.received, proxy.closed()), (b"last words", {"normal": 1}))

    def test_stop_ends_connections_after_the_grace_period(self):
        proxy = MemoryProxy(self, gracefulShutdownTimeout="2s")
        client = proxy.client()
        proxy.backend()
        dialling = proxy.client("192.0.2.2")
        stopped = proxy.service.stopService()
        proxy.pass_time(1.9)
        self.assertNoResult(stopped)
        proxy.pass_time(0.2)
        self.successResultOf(stopped)
        self.assertEqual((client.was_reset, dialling.was_reset), (True, True))
        self.assertEqual(proxy.closed(), {"shutdown": 2})
        proxy.assert_empty()

    def test_stop_without_grace_period_ends_all_at_once(self):
        proxy = MemoryProxy(self, gracefulShutdownTimeout=0)
        proxy.client()
        proxy.backend()
        stopped = proxy.service.stopService()
        proxy.settle()
        self.successResultOf(stopped)
        self.assertEqual(proxy.closed(), {"shutdown": 1})

    def test_drain_refuses_new_connections_and_keeps_open_ones(self):
        proxy = MemoryProxy(self)
        client = proxy.client()
        backend = proxy.backend()
        listener = proxy.network.ports["::", 8080]
        proxy.service.drain()
        proxy.service.drain()
        # A connection that the kernel had accepted before the socket was closed.
        self.assertIsNone(listener.factory.buildProtocol(listener.getHost()))
        self.assertEqual(proxy.rejected(), {"draining": 1})
        proxy.settle()
        self.assertEqual(proxy.network.listening_on(), set())
        client.write(b"goes on")
        proxy.settle()
        self.assertEqual(backend.received, b"goes on")


class ChangeTests(SynchronousTestCase):
    def change(self, proxy, routes):
        changed = proxy.service.update_routes(routes)
        proxy.settle()
        return changed

    def names(self, proxy):
        return [plan.name for plan in proxy.service.plan.routes]

    def test_new_routes_apply_to_new_connections(self):
        proxy = MemoryProxy(self)
        old = proxy.client()
        old_backend = proxy.backend()
        self.successResultOf(self.change(proxy, [route("new", hosts="10.0.0.2")]))
        proxy.client("192.0.2.2")
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")
        old.write(b"goes on")
        proxy.settle()
        self.assertEqual(old_backend.received, b"goes on")
        self.assertEqual({record.route for record in proxy.service.connections}, {"web", "new"})
        self.assertEqual(proxy.network.listening_on(), {8080})

    def test_connection_in_detection_keeps_the_routes_it_began_with(self):
        proxy = MemoryProxy(self, routes=[route(match={"domains": ["a.example"]})])
        client = proxy.client()
        self.successResultOf(self.change(proxy, [route("new", hosts="10.0.0.2")]))
        client.write(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        proxy.settle()
        self.assertEqual((proxy.dialled(), proxy.record.route), ("10.0.0.1:9000", "web"))

    def test_update_opens_new_ports_and_closes_unused_ones(self):
        proxy = MemoryProxy(self)
        self.successResultOf(self.change(proxy, TWO))
        self.assertEqual(proxy.network.listening_on(), {8080, 2525})
        self.assertEqual(set(proxy.service.addresses()), {("", 8080), ("", 2525)})
        self.successResultOf(self.change(proxy, TWO[1:]))
        self.assertEqual(proxy.network.listening_on(), {2525})
        proxy.client(port=2525)
        self.assertEqual(proxy.dialled(), "10.0.0.25:9000")

    def test_invalid_change_changes_nothing(self):
        proxy = MemoryProxy(self)
        before = proxy.service.plan
        for bad in (
            [route("a"), route("a", port=81)],
            [{"name": "b"}],
            [route(port=70000)],
            [route(match={"nonsense": 1})],
        ):
            changed = self.change(proxy, bad)
            self.assertTrue(self.failureResultOf(changed, ConfigurationError).value.problems)
            self.assertIs(proxy.service.plan, before)
        proxy.client()
        self.assertEqual(proxy.dialled(), "10.0.0.1:9000")
        self.assertEqual(proxy.network.listening_on(), {8080})

    def test_change_with_a_port_in_use_changes_nothing(self):
        proxy = MemoryProxy(self)
        before = proxy.service.plan
        proxy.network.occupy(2525)
        others = [route("other", port=1000), route("web", hosts="10.0.0.9"), route("mail", port=2525)]
        self.failureResultOf(self.change(proxy, others), CannotListenError)
        self.assertIs(proxy.service.plan, before)
        self.assertEqual(proxy.network.listening_on(), {8080})
        proxy.client()
        self.assertEqual(proxy.dialled(), "10.0.0.1:9000")

    def test_later_of_two_changes_is_in_force(self):
        """Closing the port of the first change takes time; the second change must not be overwritten by it."""
        proxy = MemoryProxy(self, routes=TWO)
        first = proxy.service.update_routes([route("first")])
        second = proxy.service.update_routes([route("second", hosts="10.0.0.2")])
        proxy.settle()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.names(proxy), ["second"])
        proxy.client()
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_admin_may_spell_routes_as_in_a_file(self):
        proxy = MemoryProxy(self)
        replaced = proxy.service.replace_routes([route("new")])
        proxy.settle()
        self.successResultOf(replaced)
        self.assertEqual(self.names(proxy), ["new"])

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
        proxy = MemoryProxy(self)
        proxy.service.drain()
        proxy.settle()
        self.successResultOf(self.change(proxy, TWO))
        self.assertEqual(proxy.network.listening_on(), set())


class ReloadTests(SynchronousTestCase):
    def start_proxy(self, text):
        self.path = Path(self.mktemp() + ".yaml")
        self.write(text)
        return MemoryProxy(self, Settings.load(self.path))

    def write(self, text):
        self.path.write_text("acceleration: 'off'\n" + text)

    def reload(self, proxy, text):
        self.write(text)
        reloaded = proxy.service.reload()
        proxy.settle()
        return reloaded

    def test_reload_applies_the_changed_file(self):
        proxy = self.start_proxy(_YAML)
        self.successResultOf(self.reload(proxy, _YAML.replace("10.0.0.1", "10.0.0.2")))
        proxy.client()
        self.assertEqual(proxy.dialled(), "10.0.0.2:9000")

    def test_invalid_file_changes_nothing(self):
        """An operator's typing error must not take a running proxy down; the error names the file and line."""
        proxy = self.start_proxy(_YAML)
        problem = self.failureResultOf(self.reload(proxy, _YAML + "nonsense: 1\n"), ConfigurationError)
        self.assertIn(".yaml:", str(problem.value))
        proxy.client()
        self.assertEqual(proxy.dialled(), "10.0.0.1:9000")

    def test_reload_changes_limits(self):
        proxy = self.start_proxy(_YAML + "maxConnections: 1\n")
        proxy.client()
        self.assertTrue(proxy.client().ended)
        self.successResultOf(self.reload(proxy, _YAML + "maxConnections: 2\n"))
        self.assertFalse(proxy.client().ended)
        self.assertTrue(proxy.client().ended)

    def refusals(self, proxy, count):
        before = proxy.rejected().get("rate_limit", 0)
        for _ in range(count):
            proxy.client()
        return proxy.rejected().get("rate_limit", 0) - before

    def test_reload_with_unchanged_rate_keeps_its_window(self):
        proxy = self.start_proxy(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(proxy, 3), 0)
        self.successResultOf(self.reload(proxy, _YAML + "connectionRateLimitPerMinute: 3\n"))
        self.assertEqual(self.refusals(proxy, 2), 2)

    def test_changed_rate_applies_at_once_and_keeps_its_window(self):
        proxy = self.start_proxy(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(proxy, 4), 1)
        self.successResultOf(self.reload(proxy, _YAML + "connectionRateLimitPerMinute: 5\n"))
        self.assertEqual(self.refusals(proxy, 6), 4)

    def test_removed_rate_limit_no_longer_applies(self):
        proxy = self.start_proxy(_YAML + "connectionRateLimitPerMinute: 3\n")
        self.assertEqual(self.refusals(proxy, 4), 1)
        self.successResultOf(self.reload(proxy, _YAML))
        self.assertEqual(self.refusals(proxy, 20), 0)

    def test_settings_without_a_file_cannot_be_reloaded(self):
        proxy = MemoryProxy(self)
        self.failureResultOf(proxy.service.reload(), ConfigurationError)


class StatusTests(SynchronousTestCase):
    def test_status_has_state_routes_connections_and_listeners(self):
        proxy = MemoryProxy(self, routes=TWO)
        proxy.client()
        proxy.pass_time(2)
        status = proxy.service.status()
        self.assertEqual(status["uptimeSeconds"], 2)
        self.assertEqual((status["version"], status["build"]), (__version__, BUILD))
        self.assertEqual(
            {key: status[key] for key in ("state", "routes", "connections", "acceleration")},
            {"state": "running", "routes": 2, "connections": 1, "acceleration": "off"},
        )
        self.assertEqual(status["listeners"], ["[::]:2525", "[::]:8080"])

    def test_connections_lists_the_open_ones(self):
        proxy = MemoryProxy(self)
        proxy.client()
        (record,) = proxy.service.connections
        self.assertEqual((record.listener, record.route), (":8080", "web"))
        self.assertFalse(proxy.service.end_connection(99))
        record.owner.abort(CloseReason.ADMIN)
        proxy.settle()
        self.assertEqual(proxy.service.connections, [])


class RenewalTests(SynchronousTestCase):
    def setUp(self):
        action = {
            "targets": [{"host": "10.0.0.1", "port": 9000}],
            "tls": {"mode": "terminate", "certificate": "selfSigned"},
        }
        secured = {"name": "web", "match": {"ports": 8443, "domains": ["a.example"]}, "action": action}
        self.proxy = MemoryProxy(self, routes=[secured]).service

    def test_renewing_an_unknown_name_raises_a_lookup_error(self):
        with self.assertRaises(UnknownCertificate) as raised:
            self.proxy.renew_certificate("x.example\x1b")
        self.assertIsInstance(raised.exception, LookupError)
        self.assertIn(r"'x.example\x1b'", str(raised.exception))

    def test_renewing_one_that_is_not_automatic_raises_value_error(self):
        """An operator who renews a file by mistake is told where to look."""
        with self.assertRaises(NotAutomatic) as raised:
            self.proxy.renew_certificate("a.example")
        self.assertIsInstance(raised.exception, ValueError)
        self.assertIn("'selfSigned'", str(raised.exception))


_YAML = """
routes:
  - name: web
    match: {ports: [8080]}
    action: {type: forward, targets: [{host: 10.0.0.1, port: 9000}]}
"""
