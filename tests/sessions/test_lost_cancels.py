"""An ended connection stays ended, whatever a callable that it waits for does with the cancel."""

from __future__ import annotations

import contextlib

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo
from twisted.python.failure import Failure

from smartproxy.model.outcome import CloseReason, RejectReason
from smartproxy.net.dial import ReactorDialer
from smartproxy.testing.connection import address
from tests.on_network import HOST, NetworkTestCase, a_route, served

REQUEST = b"DELETE /everything HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Swallows:
    """A callable that answers with a fallback when it is cancelled."""

    def __init__(self, fallback):
        self.fallback = fallback
        self.cancelled = 0

    async def __call__(self, facts):
        try:
            await Deferred()
        except BaseException:
            self.cancelled += 1
        return self.fallback

    def ask(self, facts):
        """Not a coroutine function, which would serve the connection itself."""
        return self(facts)


class Deaf(Swallows):
    """A callable that goes on waiting when it is cancelled."""

    async def __call__(self, facts):
        while True:
            try:
                await Deferred()
            except CancelledError:
                self.cancelled += 1


def raises(_):
    raise ZeroDivisionError


class Raises(Swallows):
    """A callable whose Deferred cannot be cancelled: its canceller raises."""

    def __call__(self, facts):
        self.cancelled += 1
        return Deferred(raises)


def build_echo() -> Factory:
    return Factory.forProtocol(Echo)


class CallableTests(NetworkTestCase):
    """Three callables, three kinds of connection end, and three ways to treat a cancel."""

    def routes(self, kind, **more):
        self.asked = [kind(HOST), kind(9000), kind(build_echo())]
        host, port, handler = self.asked
        return (
            a_route("host", 80, host=host, **more),
            a_route("port", 81, port=port, **more),
            served(handler.ask, "handler", 82, **more),
        )

    def each(self):
        for kind in (Swallows, Deaf, Raises):
            self.start(*self.routes(kind), graceful_shutdown_timeout=0)
            yield kind, [self.connect(port, REQUEST) for port in (80, 81, 82)]
            self.assertEqual([asked.cancelled for asked in self.asked], [1, 1, 1])
            self.assertEqual(self.proxy.connections, [])
            self.assertEqual([end for end in self.backend.connections if not end.gone], [])
            self.assertEqual([end.received for end in self.backend.connections if end.received], [])
            self.network.stop(self.proxy)
            self.flushLoggedErrors(ZeroDivisionError)

    def assert_closed(self, reason):
        for name in ("host", "port", "handler"):
            self.assertEqual(self.closed(name), {reason: 1})

    def test_reset_by_the_client(self):
        """Nothing is sent to a target for a client that has left."""
        for _, clients in self.each():
            for client in clients:
                client.rst()
            self.network.settle()
            self.assert_closed(CloseReason.CLIENT_RESET)

    def test_ended_through_the_admin_api(self):
        for _, clients in self.each():
            for record in self.proxy.connections:
                self.assertTrue(self.proxy.end_connection(record.id))
            self.network.settle()
            self.assertEqual([client.was_reset for client in clients], [True] * 3)
            self.assert_closed(CloseReason.ADMIN)

    def test_stop_of_the_proxy(self):
        for _, clients in self.each():
            self.network.result(self.proxy.stopService(), within=10)
            self.assertEqual([client.was_reset for client in clients], [True] * 3)

    def test_connection_timeout(self):
        """Its fallback comes too late, and one that does not end keeps nothing open."""
        for kind in (Swallows, Deaf, Raises):
            self.start(*self.routes(kind, connection_timeout="2s"))
            clients = [self.connect(port, REQUEST) for port in (80, 81, 82)]
            self.network.run(2.5)
            self.assertEqual([client.gone for client in clients], [True] * 3)
            self.assertEqual(self.proxy.counters.rejected[RejectReason.UPSTREAM_TIMEOUT], 3)
            self.assertEqual(self.backend.connections, [])
            self.network.stop(self.proxy)
            self.flushLoggedErrors(ZeroDivisionError)

    def test_exception_after_the_cancel_is_logged(self):
        async def breaks(facts):
            with contextlib.suppress(CancelledError):
                await Deferred()
            raise ZeroDivisionError

        self.start(a_route(host=breaks))
        self.connect(80).rst()
        self.network.settle()
        self.assertEqual(self.closed("web"), {CloseReason.CLIENT_RESET: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_callable_that_cancels_itself_is_a_failure(self):
        """The connection was not ended by anybody: that is an error of the callable."""

        async def cancels_itself(facts):
            waiting = Deferred()
            waiting.cancel()
            return await waiting

        self.start(a_route(host=cancels_itself))
        self.assertTrue(self.connect(80).was_reset)
        self.assertEqual(self.closed("web"), {CloseReason.ERROR: 1})
        self.assertEqual(self.failures(), [CancelledError])


class EndedWithinTests(NetworkTestCase):
    """A callable ends the connection that it is asked for, within the call."""

    def ends(self, answer):
        def choose(facts):
            (record,) = self.proxy.connections
            self.proxy.end_connection(record.id)
            return answer

        return choose

    def test_nothing_is_dialed_or_served(self):
        self.start(
            a_route("host", 80, host=self.ends(HOST)),
            a_route("port", 81, port=self.ends(9000)),
            served(self.ends(build_echo()), "handler", 82),
        )
        for name, port in (("host", 80), ("port", 81), ("handler", 82)):
            client = self.connect(port, REQUEST)
            self.assertEqual((client.received, client.was_reset), (b"", True))
            self.assertEqual(self.closed(name), {CloseReason.ADMIN: 1})
        self.assertEqual(self.backend.connections, [])
        self.assertEqual(self.failures(), [])

    def test_next_callable_is_not_asked(self):
        asked = []
        self.start(a_route(host=self.ends(HOST), port=asked.append))
        self.assertTrue(self.connect(80, REQUEST).was_reset)
        self.assertEqual((asked, self.closed("web")), ([], {CloseReason.ADMIN: 1}))

    def test_no_protocol_is_started(self):
        """``buildProtocol`` ends the connection."""
        factory = build_echo()
        made = factory.buildProtocol(None)
        self.patch(factory, "buildProtocol", self.ends(made))
        self.start(served(factory))
        self.assertTrue(self.connect(7, REQUEST).was_reset)
        self.assertIsNone(made.transport)
        self.assertEqual(self.closed("served"), {CloseReason.ADMIN: 1})
        self.assertEqual(self.failures(), [])

    def test_first_reason_counts(self):
        def choose(facts):
            (record,) = self.proxy.connections
            record.owner.abort(CloseReason.LIFETIME)
            self.proxy.end_connection(record.id)
            return HOST

        self.start(a_route(host=choose))
        self.connect(80)
        self.assertEqual(self.closed("web"), {CloseReason.LIFETIME: 1})

    def test_two_that_wait_for_one_name(self):
        """The answer for one ends the other, which waits for the same answer."""
        answers = []
        self.patch(self.network, "resolveHostName", lambda receiver, *_, **__: answers.append(receiver))
        self.start(a_route(host="db.internal"))
        first, second = self.connect(80, REQUEST), self.connect(80, REQUEST)
        other = self.proxy.connections[1]

        def ends_other(*_):
            self.proxy.end_connection(other.id)
            raise ZeroDivisionError

        self.patch(ReactorDialer, "dial", ends_other)
        (receiver,) = answers
        receiver.addressResolved(address(HOST, 9000))
        receiver.resolutionComplete()
        self.network.settle()
        self.assertEqual([first.was_reset, second.was_reset], [True, True])
        self.assertEqual(self.closed("web"), {CloseReason.ERROR: 1, CloseReason.ADMIN: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])


class ServedCoroutineTests(NetworkTestCase):
    """A coroutine that serves ends its connection itself, and has to hear of it at its next await."""

    def test_cancelled_in_its_first_run(self):
        heard = []

        async def serve(connection):
            await self.lose_and_wait(heard)

        self.assert_hears(serve, heard)

    def test_cancelled_in_a_later_run(self):
        heard = []

        async def serve(connection):
            await connection.wait(1)
            await self.lose_and_wait(heard)

        self.assert_hears(serve, heard)

    async def lose_and_wait(self, heard):
        """As a write does that meets broken TLS: the connection is lost within the call."""
        (record,) = self.proxy.connections
        record.owner.closed(Failure(ConnectionLost()))
        try:
            await Deferred()
        finally:
            heard.append("cancelled")

    def assert_hears(self, serve, heard):
        self.start(served(serve))
        client = self.connect(7)
        self.network.run(2)
        self.assertEqual(heard, ["cancelled"])
        client.rst()
        self.network.settle()
        self.assertEqual((self.proxy.connections, self.failures()), ([], []))

    def test_two_writers_of_which_one_cancels_the_other(self):
        """Both wait for room in the send buffer when it gets some."""
        order = []

        async def serve(connection):
            output, writers = connection._served.output, []

            async def write(number):
                try:
                    await connection.write(b"y")
                except CancelledError:
                    order.append(f"{number} cancelled")
                    return
                order.append(number)
                for other in writers:
                    other.cancel()

            output.pauseProducing()
            writers.extend(Deferred.fromCoroutine(write(number)) for number in (1, 2))
            output.resumeProducing()

        self.start(served(serve))
        self.connect(7)
        self.assertEqual(self.failures(), [])
        self.assertEqual(order, [1, "2 cancelled"])

    def test_wait_that_cannot_be_cancelled_keeps_nothing_open(self):
        async def serve(connection):
            await Deferred(raises)

        self.start(served(serve), graceful_shutdown_timeout=0)
        for end in ("rst", "admin", "stop"):
            client = self.connect(7)
            if end == "rst":
                client.rst()
            elif end == "admin":
                self.proxy.end_connection(self.proxy.connections[0].id)
            else:
                self.network.result(self.proxy.stopService(), within=10)
            self.network.settle()
            self.assertTrue(client.gone, end)
            self.assertEqual(self.proxy.connections, [], end)
            self.assertEqual(set(self.failures()), {ZeroDivisionError}, end)

    def test_loop_that_only_waits_ends_with_its_connection(self):
        rounds = []

        async def ticks(connection):
            while True:
                await connection.wait(1)
                rounds.append(connection.seconds())

        self.start(served(ticks))
        client = self.connect(7)
        self.network.run(2.5)
        client.rst()
        self.network.run(5)
        self.assertLessEqual(len(rounds), 3)
        self.assertEqual(self.failures(), [])
