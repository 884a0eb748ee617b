"""Requests to cancel a PostgreSQL query, which come on a connection of their own and name no server."""

from __future__ import annotations

from OpenSSL import SSL

from smartproxy.phases import forward_cancel
from smartproxy.wire import client_hello, postgres
from tests.sessions.test_postgres import SSL_REQUEST, STARTUP, AfterStartTls, PostgresCase
from tests.tls.talk import client

CANCEL = postgres.build_cancel(42, b"\x01\x02\x03\x04")
_OTHER = {"host": "10.0.0.2", "port": 9000}


class CancelCase(PostgresCase):
    def session(self, name="a.example", number=0):
        """A session that is passed through to a target, and stays open."""
        below, _ = self.start_tls()
        below.write(client_hello.build(name))
        self.settle()
        self.target_accepting_tls(number)
        return below

    def cancel(self, message=CANCEL, **where):
        below = self.network.connect(443, **where)
        below.write(message)
        self.settle()
        return below

    def got(self, number=0):
        """What the targets' connections have received that are no sessions."""
        ends = (self.backend, self.other)[number].connections
        return [far.received for far in ends if not far.received.startswith(SSL_REQUEST)]

    def closed(self):
        return {
            (name, str(reason)): count
            for name, counted in self.proxy.counters.routes.items()
            for reason, count in counted.closed.items()
        }

    def cancels(self):
        return tuple(self.proxy.counters.postgres_cancels.values())

    def close_targets(self):
        """The targets close, as PostgreSQL does when it has sent the signal."""
        for backend in (self.backend, self.other):
            for far in backend.connections:
                if far.received.endswith(CANCEL):
                    far.fin()
        self.settle()


class ForwardedTests(CancelCase):
    def two(self, **more):
        """Two routes by name, on which PostgreSQL clients were connected."""
        self.start(
            self.named("a.example", **more),
            self.named("b.example", name="other", target=_OTHER),
        )
        self.session()
        self.session("b.example", 1)

    def test_every_target_gets_the_request_and_the_client_waits_for_all(self):
        """The client's library takes the close as the sign that the query was cancelled."""
        self.two()
        below = self.cancel()
        self.assertEqual((self.got(0), self.got(1)), ([CANCEL], [CANCEL]))
        self.backend.connections[-1].fin()
        self.settle()
        self.assertFalse(below.ended)
        self.close_targets()
        self.assertTrue(below.ended)
        self.assertEqual((below.received, self.cancels(), self.rejected()), (b"", (2, 0, 0), {}))
        self.assertEqual(self.closed(), {("", "normal"): 1})
        self.assertEqual(len(self.proxy.connections), 2, "the sessions")

    def test_request_is_counted_once_as_received(self):
        self.two()
        before = self.totals()
        self.cancel()
        self.close_targets()
        self.network.run(1)
        after = self.totals()
        self.assertEqual((after[0] - before[0], after[1] - before[1]), (len(CANCEL), 0))
        counted = list(self.proxy.groups.target_counts())
        self.assertEqual(
            tuple(sum(one[at] for one in counted) for at in (-2, -1)), after, "those of targets agree"
        )

    def test_key_of_a_newer_protocol_version_is_forwarded(self):
        self.two()
        message = postgres.build_cancel(7, bytes(range(32)))
        self.cancel(message)
        self.assertEqual((self.got(0), self.got(1)), ([message], [message]))

    def test_client_that_closes_at_once_has_its_request_forwarded(self):
        """Some drivers do not wait."""
        for end in ("fin", "rst"):
            self.setUp()
            self.two()
            below = self.network.connect(443)
            below.write(CANCEL)
            self.network.settle()
            getattr(below, end)()
            self.settle()
            self.network.run(2)
            self.assertEqual((self.got(0), self.got(1)), ([CANCEL], [CANCEL]), end)
            self.close_targets()
            self.assertEqual((self.cancels(), len(self.proxy.connections)), ((2, 0, 0), 2), end)

    def test_target_that_does_not_close_holds_the_client_for_five_seconds(self):
        self.two()
        below = self.cancel()
        self.backend.connections[-1].fin()
        self.settle()
        self.network.run(forward_cancel.PATIENCE - 0.5)
        self.assertFalse(below.ended)
        self.network.run(1)
        self.assertTrue(below.ended)
        self.assertTrue(self.other.connections[-1].was_reset)
        self.assertEqual((self.cancels(), self.rejected()), ((1, 1, 0), {}))

    def test_target_that_answers_is_reset(self):
        """It is no PostgreSQL server, which answers nothing (55.2.8)."""
        self.two()
        below = self.cancel()
        self.other.connections[-1].write(b"E...")
        self.settle()
        self.assertTrue(self.other.connections[-1].was_reset)
        self.close_targets()
        self.assertEqual((below.received, self.cancels()), (b"", (1, 1, 0)))

    def test_dead_target_does_not_keep_the_request_from_others(self):
        self.two()
        self.other.close()
        below = self.cancel()
        self.assertEqual(self.got(0), [CANCEL])
        self.close_targets()
        self.assertTrue(below.ended)
        self.assertEqual((self.cancels(), self.closed()), ((1, 1, 0), {("", "normal"): 1}))

    def test_without_any_target_the_client_is_refused(self):
        self.two()
        self.backend.close()
        self.other.close()
        below = self.cancel()
        self.assertTrue(below.was_reset)
        self.assertEqual((self.cancels(), self.rejected()), ((0, 2, 0), {"upstream_refused": 1}))

    def test_proxy_header_precedes_the_request(self):
        self.start(self.named("a.example", target={"sendProxyProtocol": 1}))
        below, _ = self.start_tls()
        below.write(client_hello.build("a.example"))
        self.settle()
        self.backend.connections[-1].write(b"S")
        self.settle()
        self.cancel()
        line, _, rest = self.backend.connections[-1].received.partition(b"\r\n")
        self.assertEqual((line.startswith(b"PROXY TCP4 192.0.2.1 "), rest), (True, CANCEL))

    def test_every_host_of_a_route_gets_the_request(self):
        self.start(self.named("a.example", target={"host": ["10.0.0.1", "10.0.0.2"]}))
        self.session()
        self.cancel()
        self.assertEqual((self.got(0), self.got(1)), ([CANCEL], [CANCEL]))

    def test_turns_of_targets_are_not_changed(self):
        self.start(self.named("a.example", target={"host": ["10.0.0.1", "10.0.0.2"]}))
        self.session()
        for _ in range(3):
            self.cancel()
        self.session(number=1)

    def test_number_of_targets_is_bounded(self):
        """One request of a client makes many connections, so there must be a limit to them."""
        hosts = ["10.0.0.1", *(f"10.0.1.{n}" for n in range(1, 40))]
        self.start(self.named("a.example", target={"host": hosts}))
        self.session()
        self.cancel()
        self.assertEqual(self.cancels(), (0, forward_cancel.MOST - 1, 40 - forward_cancel.MOST))

    def test_number_of_requests_at_once_is_bounded(self):
        self.two()
        self.patch(forward_cancel, "AT_ONCE", 5)
        for _ in range(3):
            self.cancel()
        self.assertEqual((len(self.got(0)), len(self.got(1)), self.cancels()), (3, 2, (0, 0, 1)))
        below = self.cancel()
        self.assertTrue(below.ended)
        self.assertEqual((self.cancels(), self.rejected()), ((0, 0, 3), {"global_limit": 1}))
        self.close_targets()
        self.cancel()
        self.assertEqual((len(self.got(0)), len(self.got(1))), (4, 3))

    def test_stop_of_the_proxy_leaves_nothing(self):
        self.two()
        self.cancel()
        self.network.stop(self.proxy)
        self.assertEqual(self.network.getDelayedCalls(), [])


class CandidateTests(CancelCase):
    def test_routes_without_postgres_clients_are_left_alone(self):
        """Elsewhere 16 bytes of a client would make a connection to every web server behind the port."""
        self.start(self.named("a.example"), self.named("b.example", name="other", target=_OTHER))
        below = self.cancel()
        self.assertEqual((self.backend.connections, self.other.connections), ([], []))
        self.assertEqual((self.rejected(), below.ended, self.cancels()), ({"no_route": 1}, True, (0, 0, 0)))
        self.session()
        self.cancel()
        self.assertEqual((self.got(0), self.got(1)), ([CANCEL], []))

    def test_direct_tls_of_postgres_is_recognised_by_its_alpn(self):
        """sslnegotiation=direct of PostgreSQL 17 sends no request for TLS."""
        self.start(self.named("a.example"))
        for alpn, got in ((["h2"], []), (["postgresql"], [CANCEL])):
            self.network.connect(443).write(client_hello.build("a.example", alpn))
            self.settle()
            self.cancel()
            self.assertEqual([each for each in self.got() if each == CANCEL], got)

    def test_route_for_clients_without_tls_gets_it_too(self):
        self.start(
            self.named("a.example"),
            self.route("plain", match={"protocol": "tcp"}, tls={}, target=_OTHER),
        )
        self.session()
        self.cancel()
        self.assertEqual((self.got(0), self.got(1)), ([CANCEL], [CANCEL]))

    def test_conditions_and_lists_of_a_route_hold(self):
        for keys in (
            {"match": {"domains": ["b.example"], "clientIp": ["192.0.2.9"]}},
            {"security": {"ipAllowList": ["192.0.2.9"]}},
            {"security": {"ipBlockList": ["192.0.2.1"]}},
        ):
            self.setUp()
            other = self.named("b.example", name="other", target=_OTHER)
            other = {**other, **keys, "match": {**other["match"], **keys.get("match", {})}}
            self.start(self.named("a.example"), other)
            self.session()
            self.proxy._runtime.targets.postgres_routes.add("other")
            self.cancel(client=("192.0.2.1", 5000))
            self.assertEqual((self.got(0), self.got(1)), ([CANCEL], []), keys)

    def test_route_at_its_limit_gets_it(self):
        """Its sessions are those to be cancelled."""
        self.start(self.named("a.example", security={"maxConnections": 1}))
        self.session()
        self.cancel()
        self.assertEqual(self.got(), [CANCEL])

    def test_reload_keeps_and_removal_forgets_what_was_seen(self):
        self.start(self.named("a.example"))
        self.session()
        self.network.result(self.proxy.update_routes([self.named("a.example", priority=1)]))
        self.cancel()
        self.assertEqual(self.got(), [CANCEL])
        self.network.result(self.proxy.update_routes([self.named("b.example", name="new")]))
        self.assertEqual(self.proxy._runtime.targets.postgres_routes, set())


class TerminatedTests(CancelCase):
    def begin(self, *routes):
        """A session with TLS that is terminated here."""
        self.start(*routes)
        return self.encrypted(STARTUP)

    def encrypted(self, said):
        below, _ = self.start_tls()
        end = self.within(AfterStartTls(below, 1), client(self.authority))
        end.write(said)
        self.settle()
        return end

    def test_plain_request_reaches_a_target_behind_terminated_tls(self):
        self.begin(self.route())
        self.cancel()
        self.assertEqual([far.received for far in self.backend.connections], [STARTUP, CANCEL])

    def test_request_within_tls_reaches_every_host_of_the_route(self):
        """libpq 17 cancels within TLS. The next host in turn need not have the session."""
        self.begin(self.route(target={"host": ["10.0.0.1", "10.0.0.2"]}))
        end = self.encrypted(CANCEL)
        self.assertEqual([far.received for far in self.backend.connections], [STARTUP, CANCEL])
        self.assertEqual([far.received for far in self.other.connections], [CANCEL])
        self.close_targets()
        self.assertTrue(end.ended)
        self.assertEqual((self.cancels(), self.closed()), ((2, 0, 0), {("web", "normal"): 1}))

    def test_request_within_tls_of_one_host_is_relayed(self):
        self.begin(self.route())
        self.encrypted(CANCEL)
        self.assertEqual([far.received for far in self.backend.connections], [STARTUP, CANCEL])
        self.assertEqual(self.cancels(), (0, 0, 0))

    def test_target_with_tls_gets_it_within_tls(self):
        """The key is not sent over the target's network in plain text where the configuration encrypts."""
        self.start(
            self.route(
                tls={
                    "mode": "terminate-and-reencrypt",
                    "certificate": self.certificate,
                    "upstream": {"ca": self.ca, "serverName": "b.example"},
                }
            )
        )
        self.encrypted(STARTUP)
        self.backend.connections[-1].write(b"S")
        self.settle()
        session = self.within(AfterRequest(self.backend.connections[-1]), self.accepting("b.example"))
        self.settle()
        self.assertEqual(session.received, STARTUP)
        self.cancel()
        far = self.backend.connections[-1]
        self.assertEqual(far.received, SSL_REQUEST)
        far.write(b"S")
        self.settle()
        target = self.within(AfterRequest(far), self.accepting("b.example"))
        self.settle()
        self.assertEqual(target.received, CANCEL)

    def accepting(self, name):
        """A TLS server."""
        leaf = self.authority.leaf(name)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf.certificate)
        context.use_privatekey(leaf.key)
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        return connection


class AfterRequest(AfterStartTls):
    """A target's view of the bytes behind the request for TLS."""

    def __init__(self, below):
        super().__init__(below, len(SSL_REQUEST))
