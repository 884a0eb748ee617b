"""Host, port and handler as callables of a program: their argument, return values and errors."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Factory
from twisted.logger import globalLogPublisher
from twisted.protocols.wire import Echo

from smartproxy import Connection, Route
from smartproxy.model.facts import Routed
from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.serving.ready import echo
from tests.on_network import HOST, NetworkTestCase, a_route, served


class CallableTests(NetworkTestCase):
    """A callable returns a value, an awaitable or a Deferred; one that raises ends its connection."""

    def test_host_callable_gets_facts_and_returns_any_kind_of_value(self):
        seen = []

        def host(facts):
            seen.append(facts)
            return HOST

        async def awaited(facts):
            return HOST

        async def port(facts):
            return 9000

        hosts = [
            host, awaited, lambda facts: succeed(HOST), lambda facts: Deferred.fromCoroutine(awaited(facts)),
            lambda facts: "backend.internal",
        ]  # fmt: skip
        self.network.names["backend.internal"] = [HOST]
        self.start(*(a_route(str(i), 80 + i, host=callable_, port=port) for i, callable_ in enumerate(hosts)))
        for i in range(len(hosts)):
            self.connect(80 + i, b"hello", client=("203.0.113.7", 4711))
        self.assertEqual([end.received for end in self.backend.connections], [b"hello"] * len(hosts))
        self.assertIsInstance(seen[0], Routed)
        self.assertEqual((seen[0].route.name, seen[0].detected.client_ip), ("0", "203.0.113.7"))

    def test_port_callable_may_return_preserve(self):
        self.network.backend(HOST, 80)
        self.start(a_route(port=lambda facts: "preserve"))
        self.connect(80)
        self.assertEqual(self.proxy.connections[0].target, (HOST, 80))

    def test_handler_callable_may_return_factory_or_coroutine(self):
        async def later(facts):
            return Factory.forProtocol(Echo)

        self.start(
            served(lambda facts: echo, "a", 7),
            served(lambda facts: Factory.forProtocol(Echo), "b", 8),
            served(lambda facts: Deferred.fromCoroutine(later(facts)), "c", 9),
            served(lambda facts: succeed(echo), "d", 10),
        )
        for port in (7, 8, 9, 10):
            self.assertEqual(self.connect(port, b"hello").received, b"hello", port)

    def test_handler_may_be_an_object_or_a_bound_method(self):
        class UpperCase:
            async def __call__(self, connection: Connection):
                await connection.write((await connection.read()).upper())

            async def serve(self, connection: Connection):
                await self(connection)

        self.start(served(UpperCase(), "a", 7), served(UpperCase().serve, "b", 8))
        for port in (7, 8):
            self.assertEqual(self.connect(port, b"hello").received, b"HELLO")

    def test_handler_may_be_a_class_whose_instances_serve(self):
        """The class is a callable that returns a coroutine function, and not one itself."""

        class Greet:
            def __init__(self, facts: Routed):
                self.client = facts.detected.client_ip

            async def __call__(self, connection: Connection):
                await connection.write(self.client.encode())

        self.start(served(Greet))
        client = self.connect(7, client=("203.0.113.7", 4711))
        self.assertEqual(client.received, b"203.0.113.7")

    def assert_ends_with_error(self, route, raised, port=7):
        """The connection ends, is logged with its route and counted; another one stays open. Returns the message."""
        said = []
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        self.start(a_route("good", 80), route)
        good = self.connect(80)
        bad = self.connect(port, b"hello")
        self.assertTrue(bad.was_reset)
        self.assertFalse(good.gone)
        self.assertEqual(self.closed(route.name), {CloseReason.ERROR: 1})
        self.assertEqual(self.proxy.counters.route(route.name).active, 0)
        self.assertEqual([event["route"] for event in said if "log_failure" in event], [route.name])
        self.assertEqual(self.failures(), [raised])
        return next(event["log_failure"].getErrorMessage() for event in said if "log_failure" in event)

    def raising(self):
        def now(facts):
            raise ZeroDivisionError

        async def awaited(facts):
            raise ZeroDivisionError

        return [now, awaited, lambda facts: fail(ZeroDivisionError())]

    def test_host_callable_that_raises_ends_the_connection(self):
        for callable_ in self.raising():
            self.assert_ends_with_error(a_route("bad", 7, host=callable_), ZeroDivisionError)
            self.network.stop(self.proxy)

    def test_host_callable_that_raises_for_a_request_is_logged_with_its_route(self):
        """The client gets a 502, and the connection goes on, so that nothing else would tell of the callable."""
        logged = []
        globalLogPublisher.addObserver(logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, logged.append)
        targets = [{"host": self.raising()[0], "port": 9000}]
        self.start(Route(name="api", match={"ports": 80}, action={"protocol": "http", "targets": targets}))
        client = self.connect(80, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        self.assertIn(b" 502 ", client.received.partition(b"\r\n")[0])
        self.assertEqual([event["route"] for event in logged if event.get("log_failure")], ["api"])
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_port_callable_that_raises_ends_the_connection(self):
        for callable_ in self.raising():
            self.assert_ends_with_error(a_route("bad", 7, port=callable_), ZeroDivisionError)
            self.network.stop(self.proxy)

    def test_handler_callable_that_raises_ends_the_connection(self):
        now, _, deferred = self.raising()
        for callable_ in (now, deferred):
            self.assert_ends_with_error(served(callable_, "bad"), ZeroDivisionError)
            self.network.stop(self.proxy)

    def test_handler_callable_returning_no_handler_is_an_error(self):
        message = self.assert_ends_with_error(served(lambda facts: 5, "bad"), TypeError)
        self.assertRegex(
            message, r"the handler callable \S+\.<lambda> of route 'bad' gave int: must be a protocol"
        )

    def test_invalid_host_or_port_is_an_error_with_the_value(self):
        for wrong in (None, 5, b"10.0.0.5", "", "a b", "a\r\nb", "h:80", ["h"]):
            message = self.assert_ends_with_error(
                a_route("bad", 7, host=lambda _, wrong=wrong: wrong), ValueError
            )
            end = f"<lambda> of route 'bad' gave {wrong!a}: must be a host name or an IP address"
            self.assertTrue(message.startswith("the host callable ") and message.endswith(end), message)
            self.network.stop(self.proxy)
        for wrong in (None, 0, 99999, -1, "80", True, 80.0):
            message = self.assert_ends_with_error(
                a_route("bad", 7, port=lambda _, wrong=wrong: wrong), ValueError
            )
            self.assertIn(f"gave {wrong!a}: must be 1..65535", message)
            self.network.stop(self.proxy)

    def test_callable_without_answer_hits_the_connection_timeout(self):
        cancelled = []
        never = lambda facts: Deferred(lambda _: cancelled.append(facts.route.name))  # noqa: E731 - it is an argument
        self.start(
            a_route("host", 80, host=never, connection_timeout="5s"),
            a_route("port", 81, port=never, connection_timeout="5s"),
            Route(
                name="handler",
                match={"ports": 82},
                action={"type": "handler", "handler": never},
                connection_timeout="5s",
            ),
        )
        clients = [self.connect(port) for port in (80, 81, 82)]
        self.network.run(4.5)
        self.assertEqual([client.gone for client in clients], [False] * 3)
        self.network.run(1)
        self.assertEqual([client.gone for client in clients], [True] * 3)
        self.assertEqual(self.proxy.counters.rejected[RejectReason.UPSTREAM_TIMEOUT], 3)
        self.assertEqual(sorted(cancelled), ["handler", "host", "port"])

    def test_client_disconnect_cancels_the_callable(self):
        cancelled = []
        self.start(a_route(host=lambda facts: Deferred(cancelled.append)))
        self.connect(80).rst()
        self.network.settle()
        self.assertEqual((len(cancelled), self.proxy.connections), (1, []))
