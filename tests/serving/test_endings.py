"""A handler coroutine is cancelled when its connection ends; a connection ends when its coroutine raises."""

from __future__ import annotations

import asyncio
import contextlib

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from smartproxy.errors import Refused
from smartproxy.model.outcome import CloseReason, RejectReason
from tests.serving.made import ROUTE, CoroutineTestCase


class CancelTests(CoroutineTestCase):
    def ended(self, how, reason, **more):
        events = []

        async def patient(connection):
            try:
                await connection.read()
            except CancelledError:
                events.append("cancelled")
                raise
            finally:
                events.append("cleaned up")

        serving = self.serve(patient, **more)
        serving.connect()
        how(serving)
        self.assertEqual(serving.closed, {reason: 1})
        self.assertEqual(events, ["cancelled", "cleaned up"])
        self.assertEqual(self.failures(), [])

    def test_reset_cancels_the_coroutine(self):
        self.ended(lambda serving: serving.client.rst(), CloseReason.CLIENT_RESET)

    def test_ending_by_the_admin_api_cancels_the_coroutine(self):
        self.ended(lambda serving: serving.proxy.end_connection(serving.record.id), CloseReason.ADMIN)

    def test_inactivity_cancels_the_coroutine(self):
        self.ended(
            lambda serving: serving.network.run(11),
            CloseReason.INACTIVITY,
            inactivity_timeout="10s",
            keep_alive=False,
        )

    def test_shutdown_cancels_the_coroutine(self):
        self.ended(lambda serving: serving.network.stop(serving.proxy), CloseReason.SHUTDOWN)

    def test_abort_of_a_closed_connection_keeps_the_close_reason(self):
        """Handlers clean up with it, whatever has ended the connection."""

        async def tidy(connection):
            try:
                await connection.read()
            finally:
                connection.abort()

        serving = self.serve(tidy)
        serving.connect().rst()
        self.assertEqual(serving.closed, {CloseReason.CLIENT_RESET: 1})

    def test_coroutine_waiting_to_write_is_cancelled(self):
        events = []

        async def pour(connection):
            try:
                while True:
                    await connection.write(bytes(100_000))
            except CancelledError:
                events.append("cancelled")

        serving = self.serve(pour)
        client = serving.network.connect(7000)
        client.reading = False
        serving.settle()
        client.rst()
        self.assertEqual(serving.closed, {CloseReason.CLIENT_RESET: 1})
        self.assertEqual((events, self.failures()), (["cancelled"], []))

    def test_coroutine_ignoring_cancellation_keeps_nothing_open(self):
        async def deaf(connection):
            while True:
                with contextlib.suppress(CancelledError):
                    await Deferred()

        serving = self.serve(deaf)
        serving.connect()
        serving.client.rst()
        self.assertEqual(serving.closed, {CloseReason.CLIENT_RESET: 1})

    def test_read_after_close_returns_when_the_client_resets(self):
        """Such a coroutine is not cancelled, and must come to its end all the same."""
        events = []

        async def leaves(connection):
            connection.close()
            events.append(await connection.read())

        serving = self.serve(leaves)
        serving.connect()
        serving.client.rst()
        serving.settle()
        self.assertEqual((events, self.failures()), ([b""], []))

    def test_reader_in_another_coroutine_ends_with_a_reset(self):
        """Only the handler's own coroutine is cancelled."""
        events = []

        async def reads(connection):
            events.append(await connection.read())

        async def waits(connection):
            Deferred.fromCoroutine(reads(connection))
            await connection.wait(1000)

        serving = self.serve(waits)
        serving.connect()
        serving.client.rst()
        serving.settle()
        self.assertEqual((events, self.failures()), ([b""], []))

    def test_wait_ends_with_the_connection(self):
        events = []

        async def dozes(connection):
            await connection.wait(1000)
            events.append(connection.seconds())
            await connection.write(b"anybody there?")

        serving = self.serve(dozes)
        serving.connect()
        serving.client.rst()
        self.assertEqual(serving.closed, {CloseReason.CLIENT_RESET: 1})
        self.assertEqual((events, self.failures()), ([0.0], []))
        self.assertEqual([call for call in serving.network.calls if call.getTime() > 500], [])

    def test_every_wait_ends_with_the_connection(self):
        """None of them is cancelled; their timers would outlive the proxy."""
        events = []

        async def dozes(connection):
            await connection.wait(1000)
            events.append(connection.seconds())

        async def leaves(connection):
            Deferred.fromCoroutine(dozes(connection))
            connection.close()
            await dozes(connection)

        serving = self.serve(leaves)
        serving.connect()
        serving.client.rst()
        serving.settle()
        self.assertEqual(events, [0.0, 0.0])
        self.assertEqual([call for call in serving.network.calls if call.getTime() > 500], [])


class FailureTests(CoroutineTestCase):
    def test_exception_ends_only_its_own_connection(self):
        async def fragile(connection):
            data = await connection.read()
            if data == b"bad":
                raise ZeroDivisionError
            await connection.write(data)
            await connection.read()

        serving = self.serve(fragile)
        good = serving.connect(b"good")
        bad = serving.connect(b"bad")
        self.assertEqual((good.received, good.gone), (b"good", False))
        self.assertTrue(bad.was_reset)
        self.assertEqual(serving.closed, {CloseReason.ERROR: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_exception_is_logged_with_its_route(self):
        said = []

        async def fragile(connection):
            raise ZeroDivisionError

        serving = self.serve(fragile)
        globalLogPublisher.addObserver(said.append)
        self.addCleanup(globalLogPublisher.removeObserver, said.append)
        serving.connect()
        self.assertEqual([event["route"] for event in said if event.get("log_failure")], [ROUTE])
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_exception_before_the_first_await_resets_the_client(self):
        async def broken(connection):
            raise ZeroDivisionError

        serving = self.serve(broken)
        serving.connect(b"hello")
        self.assertTrue(serving.client.was_reset)
        self.assertEqual(serving.closed, {CloseReason.ERROR: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_awaiting_an_asyncio_future_resets_the_client(self):
        """It must be wrapped in a Deferred. Without that the connection would never end."""
        events = []

        async def unwrapped(connection):
            await connection.read()
            try:
                await asyncio.sleep(0)
            finally:
                events.append("cleaned up")

        serving = self.serve(unwrapped)
        serving.connect(b"hello")
        self.assertTrue(serving.client.was_reset)
        self.assertEqual(serving.closed, {CloseReason.ERROR: 1})
        self.assertEqual((events, self.failures()), (["cleaned up"], [TypeError]))

    def test_exception_during_cancellation_keeps_the_close_reason(self):
        async def messy(connection):
            try:
                await connection.read()
            finally:
                raise ZeroDivisionError

        serving = self.serve(messy)
        serving.connect()
        serving.proxy.end_connection(serving.record.id)
        self.assertEqual(serving.closed, {CloseReason.ADMIN: 1})
        self.assertEqual(self.failures(), [ZeroDivisionError])

    def test_refused_before_the_first_byte_counts_as_a_refusal(self):
        async def choosy(connection):
            raise Refused(RejectReason.IP_BLOCKED)

        serving = self.serve(choosy)
        serving.connect(b"hello")
        self.assertEqual((serving.closed, serving.rejected(RejectReason.IP_BLOCKED)), ({}, 1))
        self.assertTrue(serving.client.ended)
        self.assertEqual(self.failures(), [])

    def test_refused_after_the_first_byte_counts_as_an_error(self):
        async def late(connection):
            await connection.read()
            raise Refused(RejectReason.IP_BLOCKED)

        serving = self.serve(late)
        serving.connect(b"hello")
        self.assertEqual(serving.closed, {CloseReason.ERROR: 1})
        self.assertEqual((serving.rejected(RejectReason.IP_BLOCKED), self.failures()), (0, [Refused]))
