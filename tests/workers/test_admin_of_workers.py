"""The admin API over several workers: the replies are those of one proxy."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from smartproxy.admin.control import IProxyControl
from smartproxy.admin.site import make_admin_site
from smartproxy.model.plan import AdminPlan
from smartproxy.proxy.local_control import LocalControl
from tests.admin.doubles import Listener
from tests.workers.carried import closed, exchange
from tests.workers.several import Several


@implementer(IProxyControl)
class Supervisor:
    """The workers, and in place of what a supervisor has itself: that of the first worker."""

    def __init__(self, workers):
        self._workers = workers.all
        self._own = LocalControl(workers.first.service)

    def __getattr__(self, name):
        return getattr(self._workers if hasattr(self._workers, name) else self._own, name)


class AdminOfWorkersTests(SynchronousTestCase):
    def setUp(self):
        self.workers = Several(self, 2)
        self.one, self.two = self.workers.proxies.values()
        control = Supervisor(self.workers)
        verifyObject(IProxyControl, control)
        self.listener = Listener()
        self.listener.site = make_admin_site(control, AdminPlan(), self.workers.clock)
        self.workers.all.start()
        self.addCleanup(self.workers.all.stop)
        closed(self.one, exchange(self.one))
        for proxy in (self.one, self.two):
            exchange(proxy)
        self.workers.clock.advance(1)

    def get(self, path):
        answer = self.listener.get(f"/api/v1/{path}")
        self.assertEqual(answer.status, 200, path)
        return answer.json()

    def test_every_list_is_that_of_all_workers(self):
        (web,) = self.get("routes")["routes"]
        self.assertEqual((web["connections"], web["bytesReceived"]), ({"active": 2, "total": 3}, 9))
        connections = self.get("connections?limit=1")
        self.assertEqual((len(connections["connections"]), connections["total"]), (1, 2))
        metrics = self.get("metrics")
        self.assertEqual(metrics["totals"], {"bytesReceived": 9, "bytesSent": 18, "connections": 3})
        targets = self.get("targets?group=web")
        self.assertEqual((targets["targets"][0]["connections"], targets["next"]["outcome"]), (2, "target"))
        self.assertEqual(self.get("certificates"), {"certificates": []})

    def test_throughput_is_that_of_all_workers(self):
        self.assertEqual(self.get("throughput")["instant"], {"in": 9.0, "out": 18.0})
        self.assertEqual(len(self.get("throughput/history")["samples"]), 1)
        self.assertEqual(self.get("metrics")["throughput"]["instant"], {"in": 9.0, "out": 18.0})

    def test_one_proxy_has_the_same_keys(self):
        """A client of the API need not know how many processes there are."""
        one = Listener()
        one.site = make_admin_site(LocalControl(self.two.service), AdminPlan(), self.workers.clock)
        for path in ("routes", "connections", "metrics", "throughput", "targets?group=web", "status"):
            self.assertEqual(_keys(self.get(path)), _keys(one.get(f"/api/v1/{path}").json()))

    def test_a_target_is_set_and_a_connection_ended(self):
        answer = self.listener.ask(
            "PUT", "/api/v1/targets/web/10.0.0.1:9000", body=json.dumps({"state": "drain"}).encode()
        )
        self.assertEqual((answer.status, answer.json()["state"]), (200, "drain"))
        number = self.get("connections")["connections"][0]["id"]
        answer = self.listener.ask("DELETE", f"/api/v1/connections/{number}")
        self.assertEqual((answer.status, answer.json()), (200, {"ended": number}))

    def test_refusals_are_those_of_one_proxy(self):
        for method, path, body, status in (
            ("GET", "targets?group=none", b"", 404),
            ("PUT", "targets/web/none", b'{"weight": 1}', 404),
            ("PUT", "targets/web/10.0.0.1:9000", b'{"weight": -1}', 422),
            ("POST", "certificates/a.test/renew", b"", 404),
            ("DELETE", "connections/7", b"", 404),
        ):
            self.assertEqual(self.listener.ask(method, f"/api/v1/{path}", body=body).status, status, path)

    def test_the_page_of_metrics_is_that_of_all_workers(self):
        page = self.listener.get("/metrics").body
        self.assertIn(b'smartproxy_connections_total{route="web"} 3\n', page)
        self.assertIn(b'smartproxy_received_bytes_total{route="web"} 9\n', page)
        self.assertIn(b"smartproxy_workers 2\n", page)


def _keys(value):
    if isinstance(value, dict):
        return {key: _keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_keys(item) for item in value[:1]]
    return None
