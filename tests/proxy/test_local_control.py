"""The control of a proxy in the same process."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.admin.control import IProxyControl, MetricsReading
from smartproxy.errors import NotAutomatic, UnknownCertificate, UnknownTarget
from smartproxy.model.timestamps import Moment
from smartproxy.proxy.local_control import LocalControl
from tests.sessions.memory_proxy import MemoryProxy


class LocalControlTests(SynchronousTestCase):
    def setUp(self):
        self.proxy = MemoryProxy(self)
        self.control = LocalControl(self.proxy.service, lambda: Moment(0.0, 0.0))

    def test_provides_its_interface(self):
        verifyObject(IProxyControl, self.control)

    def test_reads_the_objects_of_the_proxy_itself(self):
        """An embedding program and the admin API must never see different numbers."""
        service = self.proxy.service
        reading = self.successResultOf(self.control.reading())
        self.assertEqual(reading, MetricsReading(service.registry, service.counters, service.metrics))
        self.assertIs(self.control.plan, service.plan)
        self.assertIs(self.control.throughput, service.metrics.throughput)
        self.assertEqual(self.successResultOf(self.control.status())["state"], "running")

    def test_draining_is_that_of_the_proxy(self):
        self.assertFalse(self.control.draining)
        self.control.drain()
        self.assertTrue(self.control.draining)

    def test_live_connections_are_shown_up_to_the_limit(self):
        for _ in range(3):
            self.proxy.client()
        live = self.successResultOf(self.control.live(None, None, 2))
        self.assertEqual(([one["id"] for one in live.shown], live.total), ([1, 2], 3))
        self.assertEqual(self.successResultOf(self.control.live("other", None, 2)), ([], 0))

    def test_a_connection_is_ended_once(self):
        self.proxy.client()
        self.assertTrue(self.successResultOf(self.control.end_connection(1)))
        self.proxy.settle()
        self.assertFalse(self.successResultOf(self.control.end_connection(1)))

    def test_refusals_are_failures_and_raise_nothing(self):
        self.failureResultOf(self.control.targets("none"), UnknownTarget)
        self.failureResultOf(self.control.peek("none", None), UnknownTarget)
        self.failureResultOf(self.control.set_target("web", "none", {"weight": 1}), UnknownTarget)
        self.failureResultOf(self.control.set_target("web", "none", {"weight": "1"}), ValueError)
        self.failureResultOf(self.control.renew_certificate("a.test"), UnknownCertificate, NotAutomatic)

    def test_nothing_is_set_where_one_value_is_not_valid(self):
        (target,) = self.successResultOf(self.control.targets("web"))
        changes = {"weight": 3, "state": "dwon"}
        self.failureResultOf(self.control.set_target("web", target.name, changes), ValueError)
        self.assertEqual(self.successResultOf(self.control.targets("web")), [target])
