"""The records of names as this machine knows them."""

from __future__ import annotations

from math import inf

from twisted.internet.defer import fail, succeed
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.errors import LookupFailed, NameNotResolved
from smartproxy.model.outcome import RejectReason
from smartproxy.testing import MemoryNetwork
from smartproxy.upstream.discovery.interfaces import IRecords
from smartproxy.upstream.discovery.messages import DnsReply, RecordType
from smartproxy.upstream.discovery.records import Records, system_records
from smartproxy.upstream.discovery.resolv_conf import NameServers
from tests.upstream.discovery.discovering import service

A, AAAA, SRV = RecordType.A, RecordType.AAAA, RecordType.SRV


class FakeDns:
    """Answers from ``zone``, by name and type; what is missing does not exist, an exception fails."""

    def __init__(self):
        self.zone = {}
        self.asked = []

    def ask(self, name, kind):
        self.asked.append((name, kind.name))
        found = self.zone.get((name, kind), DnsReply(3, False, name))
        return fail(found) if isinstance(found, Exception) else succeed(found)

    def stop(self):
        """Nothing is in progress."""


class FakeSystem:
    """The system's resolver."""

    def __init__(self):
        self.names = {}
        self.asked = []

    def resolve(self, name):
        self.asked.append(name)
        if name in self.names:
            return succeed(self.names[name])
        return fail(NameNotResolved(RejectReason.UPSTREAM_UNREACHABLE, f"{name} has no address"))


class RecordsTests(SynchronousTestCase):
    def setUp(self):
        self.dns, self.system, self.hosts = FakeDns(), FakeSystem(), {}
        self.servers = NameServers(search=("a.test", "b.test"))
        self.is_own = False
        self.records = Records(
            self.dns, lambda: self.servers, lambda: self.hosts, self.system, lambda: self.is_own
        )

    def has(self, name, kind, *records, ttl=30, alias=None, code=0):
        self.dns.zone[name, kind] = DnsReply(code, False, alias or name, records, ttl)

    def addresses(self, name, known=()):
        return self.successResultOf(self.records.addresses(name, known))

    def no_addresses(self, name, known=()):
        return str(self.failureResultOf(self.records.addresses(name, known), LookupFailed).value)

    def test_provides_its_interface(self):
        verifyObject(IRecords, self.records)

    def test_both_families_with_the_lesser_ttl_in_an_order_of_their_own(self):
        """Servers rotate their answers: that must not look like a change."""
        self.has("app.test", A, "192.0.2.10", "192.0.2.9", ttl=9)
        self.has("app.test", AAAA, "2001:db8::1", ttl=30)
        self.assertEqual(self.addresses("app.test"), (("192.0.2.9", "192.0.2.10", "2001:db8::1"), 9))

    def test_ipv6_only(self):
        self.has("app.test", A, ttl=None)
        self.has("app.test", AAAA, "2001:db8::1")
        self.assertEqual(self.addresses("app.test").records, ("2001:db8::1",))

    def test_address_is_itself_for_ever(self):
        self.assertEqual(self.addresses("::ffff:192.0.2.1"), (("192.0.2.1",), inf))
        self.assertEqual(self.dns.asked, [])

    def test_hosts_file_comes_first(self):
        self.hosts["app.test"] = ("192.0.2.1",)
        self.assertEqual(self.addresses("APP.test."), (("192.0.2.1",), None))
        self.assertEqual(self.dns.asked, [])

    def test_localhost_is_not_asked_for(self):
        self.assertEqual(self.addresses("localhost").records, ("127.0.0.1", "::1"))
        self.assertEqual(self.dns.asked, [])

    def test_short_name_is_completed(self):
        self.has("app.b.test", A, "192.0.2.1")
        self.assertEqual(self.addresses("app").records, ("192.0.2.1",))
        self.assertEqual([name for name, kind in self.dns.asked if kind == "A"], ["app.a.test", "app.b.test"])

    def test_case_and_final_dot_do_not_matter(self):
        self.has("app.test", A, "192.0.2.1")
        for name in ("App.Test", "app.test."):
            self.assertEqual(self.addresses(name).records, ("192.0.2.1",))

    def test_alias_that_the_server_does_not_follow_is_asked_for(self):
        self.has("app.test", A, alias="x.other", ttl=4)
        self.has("x.other", A, "192.0.2.1", ttl=50)
        self.assertEqual(self.addresses("app.test"), (("192.0.2.1",), 4))

    def test_aliases_without_end_fail(self):
        self.has("app.test", A, alias="x.test")
        self.has("x.test", A, alias="app.test")
        self.no_addresses("app.test")

    def test_family_that_fails_keeps_its_addresses(self):
        """A lost answer for AAAA must not end the IPv6 targets. It is asked for again soon."""
        self.has("app.test", A, "192.0.2.2")
        self.dns.zone["app.test", AAAA] = LookupFailed("silent")
        found = self.addresses("app.test", ("192.0.2.1", "2001:db8::1"))
        self.assertEqual(found, (("192.0.2.2", "2001:db8::1"), 0.0))

    def test_family_without_records_loses_its_addresses(self):
        self.has("app.test", A, "192.0.2.2")
        self.has("app.test", AAAA, ttl=None)
        self.assertEqual(self.addresses("app.test", ("2001:db8::1",)).records, ("192.0.2.2",))

    def test_no_records_of_either_family_fail(self):
        self.has("app.test", A, ttl=None)
        self.assertEqual(self.no_addresses("app.test", ("192.0.2.1",)), "the DNS has no address of it")
        self.dns.zone["app.test", A] = LookupFailed("silent")
        self.assertEqual(self.no_addresses("app.test", ("192.0.2.1",)), "silent")

    def test_name_that_only_the_system_knows(self):
        """By mDNS, or another NSS module. Its TTL is not known."""
        self.system.names["app.test"] = ["192.0.2.1"]
        self.assertEqual(self.addresses("app.test"), (("192.0.2.1",), None))
        self.assertEqual(self.addresses("app.test", ("192.0.2.1",)).records, ("192.0.2.1",))

    def test_system_does_not_bring_back_former_addresses(self):
        """Its resolver keeps its own last answers, which may be older than those of the DNS."""
        self.system.names["app.test"] = ["192.0.2.1"]
        self.no_addresses("app.test", ("192.0.2.2",))
        self.assertEqual(self.system.asked, [])

    def test_resolver_of_an_embedding_program_decides_alone(self):
        self.is_own = True
        self.system.names["app.test"] = ["192.0.2.1"]
        self.assertEqual(self.addresses("app.test").records, ("192.0.2.1",))
        self.no_addresses("localhost")
        self.assertEqual(self.dns.asked, [])

    def test_services_are_sorted(self):
        self.has("_x._tcp.test", SRV, service("b.test", 20), service("a.test", 10), ttl=3)
        found = self.successResultOf(self.records.services("_x._tcp.test", ()))
        self.assertEqual(found, ((service("a.test", 10), service("b.test", 20)), 3))

    def test_service_that_is_not_available_is_an_answer_without_records(self):
        self.dns.zone["_x._tcp.test", SRV] = DnsReply(0, False, "_x._tcp.test", (), 3, is_unavailable=True)
        self.assertEqual(self.successResultOf(self.records.services("_x._tcp.test", ())), ((), 3))

    def test_service_without_records_fails(self):
        self.has("_x._tcp.test", SRV, ttl=None)
        failed = self.failureResultOf(self.records.services("_x._tcp.test", ()), LookupFailed)
        self.assertEqual(str(failed.value), "the DNS has no SRV record of it")


class SystemRecordsTests(SynchronousTestCase):
    def test_reactor_that_watches_no_sockets_cannot_ask_the_dns(self):
        reactor = MemoryNetwork()
        self.assertFalse(IReactorFDSet.providedBy(reactor))
        records = system_records(reactor, Clock(), FakeSystem())
        self.failureResultOf(records.services("_x._tcp.test", ()), LookupFailed)
        records.stop()
