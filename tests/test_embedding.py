"""``SmartProxy`` embedded in a program: the documented behaviour of the service and of the package's names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.application.service import Application, IService, IServiceCollection, MultiService
from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import smartproxy
from smartproxy import Settings, SmartProxy
from smartproxy.model.record import ConnectionRecord
from smartproxy.serving.ready import echo
from tests.on_network import HOST, NetworkTestCase, a_route, served


class ServiceTests(NetworkTestCase):
    """``SmartProxy(Settings.load(...), reactor)`` is an IService, and has ``setServiceParent``."""

    def test_service_with_settings_from_a_file_runs_in_application(self):
        with TemporaryDirectory() as directory:
            file = Path(directory) / "smartproxy.json"
            target = {"host": HOST, "port": 9000}
            routes = [{"name": "web", "match": {"ports": 80}, "action": {"targets": [target]}}]
            file.write_text(json.dumps({"routes": routes, "acceleration": "off"}))
            proxy = SmartProxy(Settings.load(file), reactor=self.network)
        self.assertTrue(verifyObject(IService, proxy))
        application = Application("program")
        proxy.setServiceParent(application)
        services = IService(application)
        services.privilegedStartService()
        services.startService()
        self.connect(said=b"hello")
        self.assertEqual(self.backend.connections[0].received, b"hello")
        self.assertEqual(list(IServiceCollection(application)), [proxy])
        stopped = services.stopService()
        self.backend.connections[0].close()
        self.network.result(stopped)
        self.assertRaises(error.ConnectionRefusedError, self.network.connect, 80)
        self.assertFalse(proxy.running)

    def test_ports_are_bound_before_privileges_are_dropped(self):
        proxy = SmartProxy(Settings(routes=[a_route()], acceleration="off"), self.network)
        proxy.privilegedStartService()
        self.assertIsNotNone(self.network.listening("127.0.0.1", 80))
        proxy.startService()
        self.network.stop(proxy)

    def test_service_added_to_a_running_parent_starts(self):
        parent = MultiService()
        parent.startService()
        proxy = SmartProxy(Settings(routes=[served(echo)], acceleration="off"), self.network)
        proxy.setServiceParent(parent)
        client = self.connect(7, b"hello")
        self.assertEqual(client.received, b"hello")
        client.close()
        self.network.result(parent.stopService())

    def test_several_proxies_run_in_one_process(self):
        first = self.start(a_route("web", 80))
        second = self.network.start(Settings(routes=[served(echo)], acceleration="off"))
        self.connect(80, b"to the first")
        client = self.connect(7, b"to the second")
        self.assertEqual((len(first.connections), len(second.connections)), (1, 1))
        client.close()
        self.network.stop(second)
        self.assertEqual(self.backend.connections[0].received, b"to the first")
        self.assertEqual(len(first.connections), 1)

    def test_stopped_proxy_leaves_nothing_in_the_reactor(self):
        proxy = self.start(a_route(), served(echo))
        self.connect(80).close()
        self.network.stop(proxy)
        self.assertEqual((self.network.getDelayedCalls(), list(self.network.ports)), ([], [(HOST, 9000)]))

    def test_connections_are_connection_records(self):
        proxy = self.start()
        self.connect(80, b"hello", client=("203.0.113.7", 4711))
        (record,) = proxy.connections
        self.assertIsInstance(record, ConnectionRecord)
        self.assertEqual(
            (record.route, record.client, record.bytes_received), ("web", ("203.0.113.7", 4711), 5)
        )

    def test_metrics_report_the_open_connection_and_its_bytes(self):
        proxy = self.start()
        self.connect(80, b"hello")
        self.assertEqual(proxy.metrics.connections.active(), 1)
        self.assertIsNotNone(proxy.metrics.throughput.instant())
        self.assertEqual(proxy.metrics.totals().bytes_received, 5)


class NameTests(SynchronousTestCase):
    """``from smartproxy import SmartProxy, Settings, Route``."""

    def import_in_new_process(self, *lines):
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(["import sys", *lines, "print('twisted' in sys.modules)"])],
            capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
        )  # fmt: skip
        return done.stdout.strip()

    def test_reading_a_configuration_loads_no_twisted_code(self):
        """A command that only reads a configuration loads Twisted's exceptions, which takes 5 ms, and nothing else."""
        loaded = "print([name for name in sys.modules if name.startswith('twisted.internet.')])"
        for lines, expected in [
            (["from smartproxy import Settings, Route", "import smartproxy.cli.check"], "['twisted.internet.error']"),
            (["from smartproxy import SmartProxy"], "'twisted.internet.defer'"),
        ]:  # fmt: skip
            self.assertIn(expected, self.import_in_new_process(*lines, loaded))

    def test_importing_the_package_installs_no_reactor(self):
        done = self.import_in_new_process(
            "from smartproxy import *", "assert SmartProxy and Connection",
            "assert 'twisted.internet.reactor' not in sys.modules",
        )  # fmt: skip
        self.assertEqual(done, "True")

    def test_unknown_name_is_an_attribute_error(self):
        with self.assertRaises(AttributeError) as raised:
            smartproxy.SmartPorxy  # noqa: B018 - the attribute access is what is tested
        self.assertIn("SmartPorxy", str(raised.exception))
        self.assertLessEqual({"SmartProxy", "Settings", "Route", "Connection"}, set(dir(smartproxy)))
