"""Idle connections to a target: which are used again, which are closed, and what is repeated."""

from __future__ import annotations

from smartproxy import Route
from tests.http.case import GET, OK, HttpCase, http_route
from tests.on_network import HOST, NetworkTestCase

OTHER = "10.0.0.6"


class PoolTests(HttpCase):
    def target(self, number=-1):
        return self.backend.connections[number]

    def test_connections_are_shared_by_clients(self):
        for _ in range(3):
            self.exchange(self.connect())
        self.assertEqual(len(self.backend.connections), 1)

    def test_the_one_used_last_is_used_first(self):
        one, _ = self.connect(80, GET), self.connect(80, GET)
        self.answer(number=0)
        self.answer(number=1)
        self.exchange(one)
        self.assertEqual(self.target(0).received.count(b"GET"), 1)
        self.assertEqual(self.target(1).received.count(b"GET"), 2)

    def test_idle_ones_are_closed_after_a_while_and_when_the_target_closes(self):
        self.exchange(self.connect())
        self.network.run(61)
        self.assertTrue(self.target().ended)
        self.exchange(self.connect())
        self.target().fin()
        self.network.settle()
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)

    def test_what_must_not_be_used_again_is_not(self):
        for request, answer in [
            (GET, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
            (GET, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
            (GET, OK + b"more than was asked for"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", OK),
        ]:
            self.exchange(self.connect(), request, answer)
            self.assertEqual(len(self.proxy._runtime.targets.pool), 0, answer)

    def test_bytes_on_an_idle_connection_close_it(self):
        self.exchange(self.connect())
        self.answer(OK)
        self.assertEqual(len(self.proxy._runtime.targets.pool), 0)

    def test_a_target_with_a_proxy_header_gets_a_connection_for_each_request(self):
        targets = [{"host": HOST, "port": 9000, "send_proxy_protocol": 1}]
        self.start(Route(name="h", match={"ports": 81}, action={"targets": targets, "protocol": "http"}))
        client = self.connect(81)
        for _ in range(2):
            self.exchange(client)
        self.assertEqual(len(self.backend.connections), 2)

    def test_a_connection_closed_as_it_is_used_again_is_replaced(self):
        for end in ("fin", "rst"):
            client = self.connect()
            self.exchange(client)
            client.write(GET)
            self.network.settle()
            getattr(self.target(), end)()
            self.network.settle()
            self.answer(OK)
            self.assertEqual(client.received, OK + OK)

    def test_what_may_have_had_an_effect_is_not_repeated(self):
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        client = self.connect()
        self.exchange(client)
        client.write(post)
        self.network.settle()
        self.target().rst()
        self.network.settle()
        self.assertEqual(client.received[len(OK) + 9 :][:3], b"502")

    def test_a_target_counts_requests_under_way_only(self):
        client = self.connect(80, GET)
        (target,) = self.proxy.groups.targets()
        self.assertEqual(target.connections, 1)
        self.answer()
        (target,) = self.proxy.groups.targets()
        self.assertEqual(target.connections, 0)
        self.assertEqual((target.received, target.sent), (len(GET), len(OK)))
        self.assertFalse(client.ended)


class ProbeTests(NetworkTestCase):
    """An ejected target that still has an idle connection: ``ejectFor`` is shorter than the time for which it is kept."""

    def setUp(self):
        super().setUp()
        self.backends = [self.backend, self.network.backend(OTHER, 9000)]
        self.answered = {}

    def eject(self, *targets):
        """Leave ``a`` with an idle connection, and ejected: a second connection to it was refused."""
        self.start(http_route(action={"targets": list(targets), "passiveHealth": {"ejectFor": "5s"}}))
        self.ask(len(targets))
        self.backend.close()
        self.ask(2 * len(targets))
        self.assertEqual(self.states()["a"], "ejected")

    def ask(self, number):
        """The statuses of so many requests at the same time."""
        clients = [self.connect(said=GET) for _ in range(number)]
        for end in [end for backend in self.backends for end in backend.connections]:
            asked = end.received.count(b"GET ")
            if self.answered.get(end, 0) < asked and not end.gone:
                self.answered[end] = asked
                end.write(OK)
        self.network.settle()
        for client in clients:
            client.close()
        self.network.settle()
        return [bytes(client.received[9:12]) for client in clients]

    def states(self):
        return {one.name: one.state for one in self.proxy.groups.targets("web")}

    def test_the_request_that_tries_it_gets_a_new_connection(self):
        """Its outcome decides whether the target is back. A request on the idle connection would have none."""
        self.eject({"name": "a", "host": HOST, "port": 9000}, {"name": "b", "host": OTHER, "port": 9000})
        self.backends.append(self.network.backend(HOST, 9000))
        self.network.run(6)
        self.assertEqual(self.ask(2), [b"200", b"200"])
        self.assertEqual(self.states(), {"a": "up", "b": "up"})
        self.assertEqual(len(self.backends[-1].connections), 1)

    def test_a_failed_try_is_followed_by_another_one(self):
        self.eject({"name": "a", "host": HOST, "port": 9000}, {"name": "b", "host": OTHER, "port": 9000})
        for _ in range(3):
            self.network.run(6)
            self.assertEqual(self.ask(2), [b"200", b"200"])
        self.assertEqual(self.states(), {"a": "ejected", "b": "up"})
        self.backends.append(self.network.backend(HOST, 9000))
        self.network.run(6)
        self.ask(2)
        self.assertEqual(self.states(), {"a": "up", "b": "up"})

    def test_the_only_target_is_used_on_its_idle_connection_until_then(self):
        """No other target can answer: a connection that works is better than one that is refused."""
        self.eject({"name": "a", "host": HOST, "port": 9000})
        self.assertEqual(self.ask(1), [b"200"])
        self.backends.append(self.network.backend(HOST, 9000))
        self.network.run(6)
        self.assertEqual((self.ask(1), self.states()), ([b"200"], {"a": "up"}))
