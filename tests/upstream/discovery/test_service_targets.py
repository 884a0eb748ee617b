"""Groups whose targets are the answers of SRV records."""

from __future__ import annotations

from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from smartproxy.errors import LookupFailed
from smartproxy.model.outcome import RejectReason
from smartproxy.model.plan import GroupPlan, OriginationPlan
from smartproxy.upstream.discovery.interfaces import ITargetSource
from tests.upstream.discovery.discovering import CLIENT, ServiceCase, by_service, fixed, service


class ServiceRecordTests(ServiceCase):
    def weights(self):
        return {one.name: (one.weight, one.target.backup) for one in self.group.candidates}

    def test_lowest_priority_serves_and_the_others_are_backups(self):
        self.has(
            "_x._tcp.test",
            service("a.test", 10, 3, 81),
            service("b.test", 20, 0, 82),
            service("c.test", 10, 1, 83),
        )
        for number, host in enumerate("abc", 1):
            self.has(f"{host}.test.", f"192.0.2.{number}")
        self.find(by_service("_x._tcp.test"))
        self.assertEqual(
            self.weights(),
            {"192.0.2.1:81": (3, False), "192.0.2.3:83": (1, False), "192.0.2.2:82": (1, True)},
        )
        taken = [self.connect().name for _ in range(8)]
        self.assertEqual((taken.count("192.0.2.1:81"), taken.count("192.0.2.3:83")), (6, 2))

    def test_targets_are_known_by_the_name_of_their_host(self):
        """It is the Host that they get where a route asks for that."""
        self.has("_x._tcp.test", service("a.test", port=81))
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test"))
        self.assertEqual([one.target.known_as for one in self.group.candidates], ["a.test"])

    def test_same_host_with_two_ports_is_two_targets(self):
        self.has("_x._tcp.test", service("a.test", port=81), service("a.test", port=82))
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test"))
        self.assertEqual(self.targets(), ["192.0.2.1:81", "192.0.2.1:82"])

    def test_host_without_address_is_left_out(self):
        """The next priority serves where none of the lowest has an address."""
        self.has("_x._tcp.test", service("none.test", 1), service("a.test", 2))
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test"))
        self.assertEqual(self.weights(), {"192.0.2.1:80": (1, False)})

    def test_two_hosts_with_one_address_are_one_target(self):
        self.has("_x._tcp.test", service("a.test"), service("b.test"))
        self.has("a.test.", "192.0.2.1")
        self.has("b.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test"))
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_backup_stays_one(self):
        self.has("_x._tcp.test", service("a.test"))
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test", backup=True))
        self.assertEqual(self.weights(), {"192.0.2.1:80": (1, True)})

    def test_service_that_is_not_available_has_no_targets(self):
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test"))
        self.has("_x._tcp.test", ttl=1)
        self.pass_time(2)
        self.assertEqual(self.no_target().reason, RejectReason.NO_TARGET)

    def test_new_hosts_replace_the_former_ones_in_one_step(self):
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1", ttl=100)
        self.find(by_service("_x._tcp.test"))
        self.has("_x._tcp.test", service("b.test"), service("c.test"), ttl=1)
        self.has("b.test.", "192.0.2.2", ttl=100)
        self.records.zone["c.test."] = None
        self.pass_time(1.5)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.has("c.test.", "192.0.2.3", ttl=100)
        self.records.waiting["c.test."].callback(self.records.zone["c.test."])
        self.pass_time()
        self.assertEqual(self.targets(), ["192.0.2.2:80", "192.0.2.3:80"])
        self.assertEqual(len(self.names), 3)  # a.test is not asked for any more

    def test_silent_host_delays_the_others_for_a_moment_only(self):
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1", ttl=100)
        self.find(by_service("_x._tcp.test"))
        self.has("_x._tcp.test", service("b.test"), service("silent.test"), ttl=1)
        self.has("b.test.", "192.0.2.2", ttl=100)
        self.records.zone["silent.test."] = None
        self.pass_time(3)
        self.assertEqual(self.targets(), ["192.0.2.2:80"])

    def test_new_hosts_that_are_all_silent_do_not_empty_the_group(self):
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1", ttl=100)
        self.find(by_service("_x._tcp.test"))
        self.has("_x._tcp.test", service("silent.test"), ttl=1)
        self.records.zone["silent.test."] = None
        self.pass_time(5)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def use_other_hosts(self, *hosts):
        """``a.test`` serves; then the record names other hosts."""
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1", ttl=1)
        self.find(by_service("_x._tcp.test"))
        self.has("_x._tcp.test", *map(service, hosts), ttl=1)

    def test_new_hosts_that_are_not_found_do_not_empty_the_group(self):
        """A record that names a host before the host has an address must not end a service."""
        self.use_other_hosts("b.test", "c.test")
        self.pass_time(5)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.has("a.test.", "192.0.2.9", ttl=1)
        self.pass_time(2)
        self.assertEqual(self.targets(), ["192.0.2.9:80"])  # the former host is still asked for
        self.has("c.test.", "192.0.2.3")
        self.pass_time(6)
        self.assertEqual(self.targets(), ["192.0.2.3:80"])

    def test_one_silent_host_and_one_that_is_not_found_do_not_empty_the_group(self):
        self.use_other_hosts("b.test", "silent.test")
        self.records.zone["silent.test."] = None
        self.pass_time(15)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_former_hosts_come_back_while_others_are_not_found(self):
        self.use_other_hosts("b.test")
        self.pass_time(5)
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.pass_time(2)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.assertEqual(len(self.names), 2)  # b.test is not asked for any more

    def test_hosts_of_records_that_were_never_used_are_forgotten(self):
        self.use_other_hosts("b.test")
        for number in range(5):
            self.has("_x._tcp.test", service(f"c{number}.test"), ttl=1)
            self.pass_time(2)
        self.assertEqual((self.targets(), len(self.names)), (["192.0.2.1:80"], 3))

    def test_service_that_becomes_not_available_while_new_hosts_are_not_found(self):
        self.use_other_hosts("b.test")
        self.pass_time(5)
        self.has("_x._tcp.test", ttl=1)
        self.pass_time(2)
        self.no_target()

    def test_failure_keeps_the_last_answer(self):
        self.has("_x._tcp.test", service("a.test"), ttl=1)
        self.has("a.test.", "192.0.2.1", ttl=1)
        self.find(by_service("_x._tcp.test"))
        self.records.zone.clear()
        self.pass_time(30)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_first_client_waits_for_both_answers(self):
        self.has("_x._tcp.test", service("a.test"))
        self.records.zone["a.test."] = None
        self.use(by_service("_x._tcp.test"))
        waiting = self.group.wait_for_room(CLIENT, 5)
        self.pass_time(2)
        self.has("a.test.", "192.0.2.1")
        self.records.waiting["a.test."].callback(self.records.zone["a.test."])
        self.pass_time()
        self.assertEqual(self.successResultOf(waiting).name, "192.0.2.1:80")

    def test_no_target_when_no_host_has_an_address(self):
        self.has("_x._tcp.test", service("a.test"))
        self.find(by_service("_x._tcp.test"))
        self.no_target()

    def test_reload_keeps_what_was_found(self):
        self.has("_x._tcp.test", service("a.test"), ttl=100)
        self.has("a.test.", "192.0.2.1", ttl=100)
        self.find(by_service("_x._tcp.test"))
        self.use(by_service("_x._tcp.test", max_connections=9))
        self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.assertEqual(self.group.candidates[0].limit, 9)
        self.pass_time(5)
        self.assertEqual(len(self.records.asked), 2)

    def test_reload_keeps_the_targets_while_a_new_host_is_asked_for(self):
        """Also one with other terms, and several reloads."""
        self.use_other_hosts("b.test")
        self.records.zone["b.test."] = None
        self.pass_time(1.6)
        for limit in (0, 9, 8):
            self.use(by_service("_x._tcp.test", max_connections=limit))
            self.assertEqual(self.targets(), ["192.0.2.1:80"])
            self.pass_time(3)
            self.assertEqual(self.targets(), ["192.0.2.1:80"])
        self.assertEqual(self.group.candidates[0].limit, 8)
        self.has("b.test.", "192.0.2.2")
        self.records.waiting["b.test."].callback(self.records.zone["b.test."])
        self.pass_time()
        self.assertEqual((self.targets(), len(self.names)), (["192.0.2.2:80"], 2))

    def test_reload_keeps_the_targets_while_a_new_host_is_not_found(self):
        self.use_other_hosts("b.test")
        self.pass_time(5)
        self.use(by_service("_x._tcp.test", max_connections=9))
        self.pass_time(5)
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_group_that_is_added_meanwhile_has_the_same_targets(self):
        self.use_other_hosts("b.test")
        self.pass_time(5)
        plans = [GroupPlan(name, (by_service("_x._tcp.test"),)) for name in ("app", "other")]
        self.groups.apply({plan.name: plan for plan in plans}, self.discovery.apply(plans))
        self.group = self.groups.of(plans[1])
        self.assertEqual(self.targets(), ["192.0.2.1:80"])

    def test_tls_asks_for_the_host(self):
        self.has("_x._tcp.test", service("a.test"))
        self.has("a.test.", "192.0.2.1")
        self.find(by_service("_x._tcp.test", tls=OriginationPlan()))
        self.assertEqual(self.group.candidates[0].target.tls.server_name, "a.test")
        verifyObject(ITargetSource, self.discovery._source_of(by_service("_x._tcp.test")))

    def test_answer_behind_the_stop_changes_nothing(self):
        self.records.zone["_x._tcp.test"] = None
        self.use(by_service("_x._tcp.test"))
        self.pass_time()
        self.use(fixed("192.0.2.9"))
        waiting = self.records.waiting["_x._tcp.test"]
        waiting.errback(Failure(LookupFailed("late"))) if not waiting.called else None
        self.pass_time(5)
        self.assertEqual(self.targets(), ["192.0.2.9:80"])
