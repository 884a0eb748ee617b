"""Asking name servers in turn."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import LookupFailed
from smartproxy.upstream.discovery.dns import DnsClient
from smartproxy.upstream.discovery.messages import DnsReply, RecordType
from smartproxy.upstream.discovery.resolv_conf import NameServers, Server

ONE, TWO = Server("192.0.2.1"), Server("192.0.2.2")
FOUND = DnsReply(0, False, "app.test", ("192.0.2.7",), 30)
A = RecordType.A


class FakeExchange:
    """Answers of servers; a list is answered in order. ``None`` is never answered."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []
        self.pending = []

    def __call__(self, server, packet, read, seconds, *, by_tcp):
        name = {ONE: "one", TWO: "two"}[server]
        extended = b"\x00\x29\x04\xd0" in packet
        self.asked.append((name, seconds, "tcp" if by_tcp else "udp", extended))
        answer = self.answers.get(name, LookupFailed("it is silent"))
        if isinstance(answer, list):
            answer = answer.pop(0)
        if answer is None:
            self.pending.append(Deferred())
            return self.pending[-1]
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class DnsClientTests(SynchronousTestCase):
    def client(self, servers=(ONE, TWO), **answers):
        self.exchange = FakeExchange(**answers)
        self.known = NameServers(servers, timeout=1.0, attempts=2)
        return DnsClient(lambda: self.known, self.exchange, lambda: 7)

    def asked(self):
        return [name for name, *_ in self.exchange.asked]

    def test_first_server_that_knows_is_believed(self):
        client = self.client(one=FOUND)
        self.assertEqual(self.successResultOf(client.ask("app.test", A)), FOUND)
        self.assertEqual(self.exchange.asked, [("one", 1.0, "udp", True)])

    def test_missing_name_is_an_answer(self):
        client = self.client(one=DnsReply(3, False, "app.test"))
        self.assertEqual(self.successResultOf(client.ask("app.test", A)).code, 3)
        self.assertEqual(self.asked(), ["one"])

    def test_server_that_fails_or_is_silent_is_followed_by_the_next(self):
        for answer in (
            DnsReply(2, False, "app.test"),
            DnsReply(5, False, "app.test"),
            LookupFailed("silent"),
        ):
            client = self.client(one=answer, two=FOUND)
            self.assertEqual(self.successResultOf(client.ask("app.test", A)), FOUND)
            self.assertEqual(self.asked(), ["one", "two"])

    def test_dead_server_costs_one_name_its_time(self):
        """The server that has answered is asked first from then on."""
        client = self.client(two=FOUND)
        for _ in range(2):
            self.successResultOf(client.ask("app.test", A))
        self.assertEqual(self.asked(), ["one", "two", "two"])

    def test_each_round_waits_longer_and_the_last_reason_is_given(self):
        client = self.client(one=DnsReply(2, False, "app.test"))
        why = self.failureResultOf(client.ask("app.test", A), LookupFailed).value
        self.assertEqual(self.exchange.asked[0][1:2] + self.exchange.asked[2][1:2], (1.0, 2.0))
        self.assertEqual(len(self.exchange.asked), 4)
        self.assertEqual(str(why), "it is silent")

    def test_long_answer_is_asked_for_by_tcp(self):
        client = self.client(one=[DnsReply(0, True, "app.test", ("192.0.2.1",), 3), FOUND])
        self.assertEqual(self.successResultOf(client.ask("app.test", A)), FOUND)
        self.assertEqual([by for _, _, by, _ in self.exchange.asked], ["udp", "tcp"])

    def test_server_without_extensions_is_asked_as_of_old(self):
        client = self.client(one=[DnsReply(1, False, "app.test"), FOUND])
        self.assertEqual(self.successResultOf(client.ask("app.test", A)), FOUND)
        self.assertEqual([extended for *_, extended in self.exchange.asked], [True, False])

    def test_silent_names_have_places_of_their_own(self):
        """So that they delay no name that is answered."""
        client = self.client((ONE,))
        names = [f"silent{number}.test" for number in range(40)]
        for name in names:
            self.failureResultOf(client.ask(name, A), LookupFailed)
        self.exchange.answers["one"] = None
        asking = [client.ask(name, A) for name in names]
        self.exchange.asked.clear()
        self.exchange.answers["one"] = FOUND
        self.successResultOf(client.ask("good.test", A))
        self.assertEqual(len(self.exchange.asked), 1)
        self.assertEqual(len(self.exchange.pending), 32)
        client.stop()
        for one in asking:
            self.failureResultOf(one, CancelledError)

    def test_questions_are_bounded(self):
        client = self.client((ONE,), one=None)
        asking = [client.ask(f"{number}.test", A) for number in range(200)]
        self.assertEqual(len(self.exchange.pending), 64)
        self.exchange.pending[0].callback(FOUND)
        self.assertEqual(len(self.exchange.pending), 65)
        client.stop()
        for one in asking[1:]:
            self.failureResultOf(one, CancelledError)
