"""Automatic certificates: orders when they are due, in memory, with a directory that is told what to issue."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs, formatEvent

from smartproxy.acme.service import MAX_ORDERS, OTHER_INTERVAL
from smartproxy.acme.storage import AcmeStorage
from smartproxy.errors import AcmeError, NotAutomatic, UnknownCertificate
from smartproxy.model.plan import AcmePlan, ProxyPlan
from smartproxy.tls.certificate import Certificate
from tests.acme.service_case import BEGAN, CA, URL, ServiceTestCase, entry
from tests.tls import talk


class OrderTests(ServiceTestCase):
    def test_what_is_missing_is_ordered_and_shown(self) -> None:
        self.start(entry("a.example", "b.example"))
        self.assertEqual(self.issuer.waiting, [("a.example", "b.example")])
        self.assertEqual(self.status(entry("a.example", "b.example")).state, "ordering")
        self.assertIsNone(self.shown(entry("a.example", "b.example")))
        certificate = self.issued("a.example", "b.example")
        self.issuer.answer(certificate)
        self.assertEqual(self.shown(entry("a.example", "b.example")).plan, certificate.plan)
        self.assertEqual(self.status(entry("a.example", "b.example")).state, "issued")
        self.assertEqual(
            [(one.kind, one.names) for one in self.events], [("issued", ("a.example", "b.example"))]
        )
        self.assertEqual(self.counters.acme_orders, {"ok": 1, "failed": 0})

    def test_nothing_is_ordered_before_the_start(self) -> None:
        """The challenge of an order is answered by listeners, which are bound later."""
        self.apply(entry("a.example"))
        self.clock.advance(60)
        self.assertEqual(self.issuer.orders, [])

    def test_only_a_few_orders_are_in_progress_at_once(self) -> None:
        entries = [entry(f"{number}.example") for number in range(50)]
        self.start(*entries)
        most = 0
        while self.issuer.waiting:
            most = max(most, len(self.issuer.waiting))
            self.issuer.answer(self.issued(*self.issuer.waiting[0], life=90 * 86400.0))
            self.clock.advance(1.0)
        self.assertEqual(most, MAX_ORDERS)
        self.assertEqual(len(self.issuer.orders), 50)
        for one in entries:
            self.assertEqual(self.shown(one).names, one.names)

    def test_two_routes_with_the_same_names_have_one_order(self) -> None:
        both = entry("a.example", "b.example"), entry("b.example", "a.example")
        self.start(*both)
        self.assertEqual(len(self.issuer.orders), 1)
        certificate = self.issued("a.example", "b.example")
        self.issuer.answer(certificate)
        self.assertEqual([self.shown(one).plan for one in both], [certificate.plan] * 2)

    def test_temporary_certificate_is_replaced(self) -> None:
        """With ``until: selfSigned`` clients get one until there is another, for the names of the route only."""
        temporary = entry("a.example", "192.0.2.1", temporary=True)
        self.start(temporary)
        shown = self.shown(temporary)
        self.assertEqual((set(shown.names), shown.any_name), ({"a.example", "192.0.2.1"}, False))
        certificate = self.issued("a.example", "192.0.2.1")
        self.issuer.answer(certificate)
        self.assertEqual(self.shown(temporary).plan, certificate.plan)

    def test_order_that_ends_with_an_unexpected_error_is_tried_again(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(ZeroDivisionError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("ZeroDivisionError", self.status(entry("a.example")).last_error)
        self.advance(6)
        self.assertEqual(len(self.issuer.orders), 2)

    def test_order_that_ends_as_cancelled_by_others_is_tried_again(self) -> None:
        """A DNS handler may pass on the cancel of a request of its own. Without an order it would never be renewed."""
        self.start(entry("a.example"))
        self.issuer.answer(CancelledError())
        self.assertEqual(self.status(entry("a.example")).state, "failed")
        self.advance(6)
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_callable_of_an_embedder_that_raises_changes_nothing(self) -> None:
        def broken(_event: object) -> None:
            raise ValueError("of the embedder")

        self.acme.on_event.insert(0, broken)
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.events), 1)


class FailureTests(ServiceTestCase):
    def test_failed_proofs_are_counted_and_not_forgotten_at_a_success(self) -> None:
        """The challenge that has succeeded is used at the renewal, too; a directory that is down says nothing of it."""
        self.start(entry("a.example"))
        for failed in (
            AcmeError("not found", "unauthorized"),
            AcmeError("down"),
            AcmeError("busy", "rateLimited"),
        ):
            self.issuer.answer(failed)
            while not self.issuer.waiting:
                self.clock.advance(1.0)
        self.issuer.answer(self.issued("a.example"))
        self.advance(41)
        self.assertEqual(self.issuer.failed_proofs, [0, 1, 1, 1, 1])

    def test_back_off_doubles_from_5_s(self) -> None:
        self.start(entry("a.example"))
        times = []
        for _ in range(4):
            times.append(self.clock.seconds())
            self.issuer.answer(AcmeError("refused"))
            while not self.issuer.waiting:
                self.clock.advance(1.0)
        times.append(self.clock.seconds())
        self.assertEqual([after - before for before, after in pairwise(times)], [5, 10, 20, 40])
        self.assertEqual(self.counters.acme_orders["failed"], 4)

    def test_each_certificate_has_a_back_off_of_its_own(self) -> None:
        self.start(entry("a.example"), entry("b.example"))
        self.issuer.answer(AcmeError("refused", retry_after=3600.0))
        self.issuer.answer(AcmeError("refused"))
        self.advance(6)
        self.assertEqual(self.issuer.waiting, [("b.example",)])

    def test_what_the_directory_asks_for_wins(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(AcmeError("too many", retry_after=600.0))
        self.advance(599)
        self.assertEqual(self.issuer.waiting, [])
        self.advance(2)
        self.assertEqual(len(self.issuer.waiting), 1)

    def test_status_says_why_and_when_next(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(AcmeError("a.example: port 80 cannot be reached"))
        status = self.status(entry("a.example"))
        self.assertEqual(
            (status.state, status.last_error, status.failures, status.next_try, status.last_error_at),
            ("failed", "a.example: port 80 cannot be reached", 1, self.wall() + 5, self.wall()),
        )
        self.assertEqual([(one.kind, one.detail) for one in self.events], [("failed", status.last_error)])

    def test_success_ends_the_back_off(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(AcmeError("refused"))
        self.advance(6)
        self.issuer.answer(self.issued("a.example"))
        status = self.status(entry("a.example"))
        self.assertEqual((status.state, status.failures, status.last_error), ("issued", 0, ""))


class RenewalTests(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start(entry("a.example"))
        self.first = self.issued("a.example")
        self.issuer.answer(self.first)

    def test_is_renewed_when_a_third_is_left(self) -> None:
        self.advance(39)
        self.assertEqual(self.issuer.waiting, [])
        self.advance(2)
        self.assertEqual(self.issuer.waiting, [("a.example",)])
        self.assertIs(self.shown(entry("a.example")).plan, self.first.plan)
        second = self.issued("a.example", number=1)
        self.issuer.answer(second)
        self.assertEqual(self.shown(entry("a.example")).plan, second.plan)
        self.assertEqual(self.events[-1].kind, "renewed")

    def test_former_one_is_kept_while_renewal_fails(self) -> None:
        self.advance(41)
        for _ in range(3):
            self.issuer.answer(AcmeError("down"))
            while not self.issuer.waiting:
                self.clock.advance(1.0)
            self.assertEqual(self.shown(entry("a.example")).plan, self.first.plan)
        self.issuer.answer(self.issued("a.example", number=1))
        self.assertNotEqual(self.shown(entry("a.example")).plan, self.first.plan)

    def test_time_of_the_next_renewal_is_a_metric(self) -> None:
        self.assertEqual(self.counters.acme_next_renewal(), {"a.example": BEGAN + 40})

    def test_an_hour_of_renewals_leaves_nothing_behind(self) -> None:
        for number in range(90):
            while not self.issuer.waiting:
                self.clock.advance(1.0)
            self.issuer.answer(self.issued("a.example", number=number % 2))
        self.assertGreater(self.clock.seconds(), 3500)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(len(self.store.certificates), 1)
        self.assertEqual(len(self.acme._managed), 1)

    def test_on_request_it_is_renewed_now(self) -> None:
        for written in ("a.example", "A.EXAMPLE."):
            self.assertEqual(self.acme.renew(written), ("a.example",))
            self.assertEqual(self.issuer.waiting, [("a.example",)])
            self.issuer.answer(self.issued("a.example", number=1))

    def test_request_while_an_order_is_in_progress_makes_no_second_one(self) -> None:
        self.acme.renew("a.example")
        self.acme.renew("a.example")
        self.assertEqual(len(self.issuer.waiting), 1)

    def test_request_for_another_name_is_refused(self) -> None:
        self.assertRaises(UnknownCertificate, self.acme.renew, "b.example")
        leaf = CA.leaf("file.example").plan("file.pem")
        self.apply(entry("a.example"), leaf)
        self.assertRaises(NotAutomatic, self.acme.renew, "file.example")


class StoredTests(ServiceTestCase):
    def save(self, certificate: Certificate) -> None:
        storage = AcmeStorage(str(self.path), URL)
        storage.prepare()
        storage.save(certificate.names, certificate.plan.chain, certificate.plan.key)

    def test_good_one_is_shown_before_the_start_and_not_ordered(self) -> None:
        self.save(self.issued("a.example", life=86400.0))
        self.apply(entry("a.example"))
        self.assertIsNotNone(self.shown(entry("a.example")))
        self.acme.start()
        self.advance(60)
        self.assertEqual(self.issuer.orders, [])

    def test_store_that_cannot_be_written_is_told_at_the_start(self) -> None:
        """Another user than before cannot renew: the first order may be due in two months."""
        self.save(self.issued("a.example", life=86400.0))
        (locks,) = self.path.glob("*/locks")
        locks.rmdir()
        locks.touch()
        self.apply(entry("a.example"))
        with capturedLogs() as logged:
            self.acme.start()
        self.assertEqual(
            [formatEvent(event) for event in logged],
            [f"certificates cannot be renewed: {self.path}: cannot be written: File exists"],
        )

    def test_damaged_one_is_ordered_anew(self) -> None:
        self.save(self.issued("a.example", life=86400.0))
        for file in self.path.rglob("*.pem"):
            file.write_bytes(file.read_bytes()[:200])
        self.start(entry("a.example"))
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_one_with_fewer_names_is_shown_until_there_is_another(self) -> None:
        """A name that is added must not take the certificate from the others."""
        self.save(self.issued("b.example", life=86400.0))
        self.start(entry("a.example", "b.example"))
        self.assertEqual(self.shown(entry("a.example", "b.example")).names, ("b.example",))
        self.assertEqual(self.issuer.waiting, [("a.example", "b.example")])

    def test_one_that_another_process_is_ordering_is_waited_for(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(None)
        self.assertEqual(self.status(entry("a.example")).state, "ordering")
        self.assertEqual(self.counters.acme_orders, {"ok": 0, "failed": 0})
        self.advance(OTHER_INTERVAL + 1)
        self.assertEqual(len(self.issuer.waiting), 1)
        is_good = self.issuer.good[-1]
        self.assertTrue(is_good(self.issued("a.example")))

    def test_one_that_another_process_has_ordered_is_not_counted_as_an_order(self) -> None:
        """The metrics of processes on one store are added up."""
        self.start(entry("a.example"))
        certificate = self.issued("a.example")
        self.assertTrue(self.issuer.good[0](certificate))
        self.issuer.answer(certificate)
        self.assertEqual(self.status(entry("a.example")).state, "issued")
        self.assertEqual(self.counters.acme_orders, {"ok": 0, "failed": 0})

    def test_one_is_not_good_that_is_to_be_renewed_or_has_other_names(self) -> None:
        self.start(entry("a.example"))
        (is_good,) = self.issuer.good
        self.assertFalse(is_good(self.issued("b.example")))
        old = self.issued("a.example")
        self.clock.advance(45)
        self.assertFalse(is_good(old))


class ReloadTests(ServiceTestCase):
    def test_certificate_and_order_of_an_unchanged_entry_go_on(self) -> None:
        self.start(entry("a.example"), entry("b.example"))
        certificate = self.issued("a.example")
        self.issuer.answer(certificate)
        self.apply(entry("b.example"), entry("a.example"), entry("c.example"))
        self.assertEqual(self.shown(entry("a.example")).plan, certificate.plan)
        self.clock.advance(1.0)
        self.assertEqual(self.issuer.waiting, [("b.example",), ("c.example",)])
        self.assertEqual(len(self.issuers), 1)

    def test_order_of_a_removed_entry_is_cancelled(self) -> None:
        self.start(entry("a.example"), entry("b.example"))
        self.apply(entry("b.example"))
        self.assertEqual(self.issuer.cancelled, 1)
        self.assertIsNone(self.acme.find(("a.example",)))
        self.assertEqual(self.events, [])

    def test_result_of_an_order_that_does_not_end_when_cancelled_is_dropped(self) -> None:
        """It may be cleaning up. What it returns later must not end the order that was begun meanwhile."""
        self.apply(entry("a.example"))
        former = self.issuer
        former.cancels = False
        self.acme.start()
        self.acme.stop()
        self.acme.start()
        self.assertEqual(former.waiting, [("a.example",)] * 2)
        former.answer(self.issued("a.example"))
        self.assertEqual(self.status(entry("a.example")).state, "ordering")
        self.assertEqual(self.events, [])
        former.answer(self.issued("a.example", number=1))
        self.assertEqual([one.kind for one in self.events], ["issued"])

    def test_certificate_of_an_entry_that_is_removed_meanwhile_is_not_shown(self) -> None:
        self.apply(entry("a.example"), entry("b.example"))
        former = self.issuer
        former.cancels = False
        self.acme.start()
        self.apply(entry("b.example"))
        former.answer(self.issued("a.example"))
        self.assertEqual([one.names for one in self.store.certificates], [])

    def test_another_directory_orders_anew_and_the_former_certificate_is_shown(self) -> None:
        self.start(entry("a.example"))
        certificate = self.issued("a.example", life=86400.0)
        self.issuer.answer(certificate)
        self.apply(entry("a.example"), directory="https://other.example/dir")
        self.assertEqual(self.shown(entry("a.example")).plan, certificate.plan)
        self.clock.advance(1.0)
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_changed_terms_of_renewal_apply_at_once(self) -> None:
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example", life=1000.0))
        self.apply(entry("a.example"), renew_before=900.0)
        self.assertEqual(self.status(entry("a.example")).next_try, BEGAN + 100)

    def test_renewal_that_was_asked_for_goes_on_after_a_reload(self) -> None:
        """Whoever has asked for it, because a key was stolen, is not told that a reload has cancelled it."""
        self.start(entry("a.example"))
        self.issuer.answer(self.issued("a.example", life=86400.0))
        self.acme.renew("a.example")
        self.apply(entry("a.example"), email="other@a.example")
        self.advance(1)
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_selection_that_was_begun_before_an_order_ended_loses_nothing(self) -> None:
        """The watcher of files makes its selection in a thread, and shows it when the certificate has come."""
        self.start(entry("a.example"))
        stale = self.store.changed({})
        self.issuer.answer(self.issued("a.example"))
        self.store.show(stale)
        self.assertIsNotNone(self.shown(entry("a.example")))

    def test_configuration_that_was_prepared_before_an_order_ended_loses_nothing(self) -> None:
        self.start(entry("a.example"))
        acme = AcmePlan(URL, str(self.path))
        plan = ProxyPlan((talk.route(entry("a.example")),), acme=acme)
        prepared = self.store.prepare(plan)
        self.issuer.answer(self.issued("a.example"))
        self.store.apply(prepared)
        self.acme.apply(plan)
        self.assertIsNotNone(self.shown(entry("a.example")))

    def test_stop_cancels_orders_and_start_begins_them_again(self) -> None:
        self.start(entry("a.example"))
        self.acme.stop()
        self.assertEqual((self.issuer.cancelled, self.clock.getDelayedCalls()), (1, []))
        self.acme.start()
        self.assertEqual(self.issuer.waiting, [("a.example",)])

    def test_stop_can_be_waited_for(self) -> None:
        """A command removes from the DNS what it has added, and takes its time."""
        self.start(entry("a.example"))
        self.issuer.cancels = False
        self.apply(entry("a.example"), entry("b.example"))
        self.clock.advance(1.0)
        self.acme.stop()
        ended = self.acme.ended()
        self.assertNoResult(ended)
        self.issuer.answer(None)
        self.successResultOf(ended)
        self.successResultOf(self.acme.ended())

    def test_without_acme_nothing_is_left(self) -> None:
        self.start(entry("a.example"))
        plan = ProxyPlan((talk.route(),))
        self.store.apply(self.store.prepare(plan))
        self.acme.apply(plan)
        self.assertEqual((self.issuer.cancelled, self.acme.directory), (1, None))
        self.advance(3)
        self.assertEqual(len(self.issuer.orders), 1)
