"""What has approved a name that is ordered on demand, and what a reload that removes it means for the name."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from smartproxy.acme.on_demand import OnDemandOrders
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError
from smartproxy.flow.threads import call_here
from smartproxy.model.plan import AcmePlan, OnDemandPlan, ProxyPlan
from tests.acme.service_case import URL, entry
from tests.acme.test_on_demand import OnDemandTestCase
from tests.tls import talk


def _choose(_name: str | None) -> str:
    """A certificate callable."""
    return "auto"


class ApproverTests(OnDemandTestCase):
    def reload(self, *, ask: bool = True, choice: Any = None) -> None:
        """Apply a configuration with ``acme.onDemand``, or a certificate callable, or neither."""
        terms = OnDemandPlan("http://127.0.0.1/ask", 20) if ask else None
        routes = [talk.route(entry("configured.example"))]
        if ask or choice is not None:
            routes.append(talk.route(on_demand=("*",) if ask else (), certificate_for=choice, name="other"))
        plan = ProxyPlan(tuple(routes), acme=AcmePlan(URL, str(self.path), on_demand=terms))
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)
        self.acme.start()

    def issue(self, *names: str, **more: bool) -> None:
        for name in names:
            client = self.client(name, **more)
            self.answer(name, self.issued(name))
            self.successResultOf(client)
            self.client(name, **more)

    def answer(self, name: str, answer: Any) -> None:
        (order,) = (order for names, order in self.issuer.orders if names == (name,) and not order.called)
        order.errback(answer) if isinstance(answer, Exception) else order.callback(answer)

    def ordered(self, name: str) -> int:
        return sum(names == (name,) for names, _ in self.issuer.orders)

    def test_name_is_not_renewed_after_on_demand_was_removed(self) -> None:
        """Nothing approves it any more."""
        self.reload()
        self.issue("a.example")
        self.reload(ask=False)
        self.advance(45)
        self.assertEqual((self.ordered("a.example"), list(self.acme.on_demand())), (0, []))
        self.assertEqual(self.asked, ["a.example"])

    def test_order_in_progress_is_cancelled_when_on_demand_is_removed(self) -> None:
        self.reload()
        client = self.client()
        before = self.issuer
        self.reload(ask=False)
        self.assertIn("not ordered any more", self.refused(client))
        self.advance(10)
        self.assertEqual((before.cancelled, self.ordered("a.example")), (2, 0))

    def test_failed_order_is_not_tried_again_after_on_demand_was_removed(self) -> None:
        self.reload()
        self.client().addErrback(lambda _: None)
        self.answer("a.example", AcmeError("port 80 cannot be reached"))
        self.client()
        self.reload(ask=False)
        self.advance(10)
        self.assertEqual(self.ordered("a.example"), 0)

    def test_renewal_that_waits_for_its_approval_is_cancelled(self) -> None:
        self.reload()
        self.issue("a.example")
        self.approves = answer = Deferred()
        self.advance(41)
        self.assertEqual(self.asked, ["a.example"] * 2)
        self.reload(ask=False)
        if not answer.called:
            answer.callback(True)
        self.advance(10)
        self.assertEqual(self.ordered("a.example"), 0)

    def test_stored_certificate_is_not_renewed_where_nothing_approves_it(self) -> None:
        """A client whose handshake began before a reload has it read from the store."""
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        plan = self.issued("a.example", life=86400.0).plan
        storage.save(("a.example",), plan.chain, plan.key)
        self.approves = False
        self.reload(ask=False)
        self.successResultOf(self.client())
        self.wall_set = 86400.0 * 0.7
        self.advance(10)
        self.assertEqual(self.ordered("a.example"), 0)

    def test_name_that_a_callable_has_approved_is_kept_without_on_demand(self) -> None:
        self.reload(choice=_choose)
        self.issue("a.example", approved=True)
        self.reload(ask=False, choice=_choose)
        self.advance(41)
        self.assertEqual((self.ordered("a.example"), self.asked), (1, []))

    def test_renewal_of_a_name_that_a_callable_has_approved_is_not_asked_about(self) -> None:
        """The program of ``acme.onDemand`` knows the names of other routes."""
        self.approves = False
        self.reload(choice=_choose)
        self.issue("a.example", approved=True)
        self.advance(41)
        self.assertEqual((self.ordered("a.example"), self.asked), (2, []))

    def test_name_is_not_renewed_after_the_callable_was_removed(self) -> None:
        self.reload(choice=_choose)
        self.issue("a.example", approved=True)
        self.reload()
        self.advance(45)
        self.assertEqual((self.ordered("a.example"), list(self.acme.on_demand())), (1, []))

    def test_name_is_asked_about_where_a_callable_approves_it_no_more(self) -> None:
        """Since its last order only clients of routes without a callable have asked for it."""
        self.reload(choice=_choose)
        self.issue("a.example", approved=True)
        self.advance(41)
        self.answer("a.example", self.issued("a.example"))
        self.client("a.example")
        self.advance(41)
        self.assertEqual(self.asked, ["a.example"])


class WorkersTests(OnDemandTestCase):
    def test_each_worker_has_its_share_of_the_orders_in_an_hour(self) -> None:
        """Together they must not order more for strangers than ``maxPerHour`` allows."""
        for processes, share in ((2, 2), (8, 1)):
            self.on_demand = OnDemandOrders(
                self.acme, self._approve, self.clock.seconds, call_here, processes
            )
            self.begin(most=5)
            before = len(self.issuer.orders)
            refused = [self.client(f"{number}.{processes}.example") for number in range(share + 1)][share]
            self.assertEqual(len(self.issuer.orders) - before, share)
            self.assertIn(
                f"{share} certificates were ordered within an hour (acme.onDemand.maxPerHour, of which each of "
                f"{processes} workers has its share)",
                self.refused(refused),
            )
