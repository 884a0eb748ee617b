"""``Connection``, the object that a handler coroutine receives: reading, writing, closing, and its facts."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone

from smartproxy.model.outcome import CloseReason, ConnectionState
from smartproxy.testing import Nature
from tests.serving.made import ROUTE, CoroutineTestCase

BIG = 1024 * 1024


class ReadTests(CoroutineTestCase):
    def test_read_returns_received_bytes_then_empty_at_fin(self):
        got = []

        async def collect(connection):
            while data := await connection.read():
                got.append(data)
            got.append(data)

        serving = self.serve(collect)
        serving.connect(b"one")
        serving.say(b"two")
        self.assertEqual(got, [b"one", b"two"])
        serving.client.fin()
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual(got[-1], b"")
        self.assertEqual(serving.moved, (6, 0))

    def test_read_with_a_size_keeps_the_rest(self):
        got = []

        async def small(connection):
            got.append(await connection.read(0))
            while data := await connection.read(3):
                got.append(data)

        serving = self.serve(small)
        serving.connect(b"abcdefgh")
        serving.client.fin()
        serving.settle()
        self.assertEqual(got, [b"", b"abc", b"def", b"gh"])

    def test_only_bytes_that_were_read_are_counted(self):
        go_on = Deferred()

        async def four(connection):
            await connection.read(4)
            await go_on

        serving = self.serve(four)
        serving.connect(b"abcdefgh")
        self.assertEqual(serving.record.bytes_received, 4)
        go_on.callback(None)
        serving.client.fin()
        self.assertEqual(serving.moved, (4, 0))

    def test_unread_bytes_pause_the_client(self):
        go_on = Deferred()

        async def slow(connection):
            await go_on
            while await connection.read():
                pass

        serving = self.serve(slow)
        serving.connect(bytes(BIG))
        held = BIG - serving.client.waiting
        self.assertLessEqual(held, 3 * 64 * 1024)
        self.assertEqual(serving.record.bytes_received, 0)
        go_on.callback(None)
        serving.settle()
        self.assertEqual(serving.record.bytes_received, BIG)

    def test_bytes_delivered_after_a_pause_are_not_lost(self):
        got = []
        go_on = Deferred()

        async def slow(connection):
            await go_on
            while data := await connection.read():
                got.append(data)

        serving = self.serve(slow, Nature(window=1000, late=True))
        serving.connect(bytes(range(250)) * 40)
        go_on.callback(None)
        serving.client.fin()
        serving.settle()
        self.assertEqual(b"".join(got), bytes(range(250)) * 40)

    def test_read_raises_timeout_error_and_can_be_repeated(self):
        events = []

        async def hurried(connection):
            try:
                await connection.read(timeout=2)
            except TimeoutError:
                events.append(connection.seconds())
            events.append(await connection.read(timeout=2))

        serving = self.serve(hurried)
        serving.connect()
        serving.network.run(3)
        self.assertEqual(len(events), 1)
        serving.say(b"late")
        self.assertEqual(events[1:], [b"late"])

    def test_concurrent_read_raises_runtime_error(self):
        async def twice(connection):
            first = Deferred.fromCoroutine(connection.read())
            try:
                await connection.read()
            except RuntimeError:
                await connection.write(b"refused")
            await connection.write(await first)

        serving = self.serve(twice)
        serving.connect()
        serving.say(b"!")
        self.assertEqual(serving.client.received, b"refused!")


class WriteTests(CoroutineTestCase):
    def test_write_waits_while_the_client_does_not_read(self):
        done = []

        async def pour(connection):
            for _ in range(64):
                await connection.write(bytes(BIG // 64))
                done.append(None)

        serving = self.serve(pour)
        client = serving.network.connect(7000)
        client.reading = False
        serving.settle()
        self.assertLess(len(done), 16)
        client.reading = True
        serving.settle()
        self.assertEqual((len(done), len(client.received)), (64, BIG))

    def test_long_write_is_split_and_counted_once(self):
        async def pour(connection):
            await connection.write(bytes(BIG))

        serving = self.serve(pour, Nature(sizes=range(1, 9000)))
        client = serving.network.connect(7000)
        client.reading = False
        serving.settle()
        self.assertLess(serving.record.bytes_sent, BIG // 2)
        self.assertLessEqual(client.transport.peer.most, 3 * 64 * 1024)
        client.reading = True
        serving.settle()
        self.assertEqual(len(client.received), BIG)
        client.fin()
        self.assertEqual(serving.moved, (0, BIG))

    def test_write_after_end_raises_connection_closed(self):
        events = []

        async def ends(connection):
            connection.end()
            try:
                await connection.write(b"more")
            except ConnectionClosed:
                events.append("refused")

        serving = self.serve(ends)
        serving.connect()
        self.assertEqual((events, serving.client.received), (["refused"], b""))

    def test_write_returns_only_when_there_is_room_again(self):
        done = []

        async def pour(connection):
            while True:
                await connection.write(bytes(50_000))
                done.append(50_000)

        serving = self.serve(pour)
        client = serving.network.connect(7000)
        client.reading = False
        serving.settle()
        self.assertEqual(serving.record.bytes_sent, sum(done) + 50_000)


class EndTests(CoroutineTestCase):
    def test_client_receives_the_answer_after_its_fin(self):
        async def late(connection):
            while await connection.read():
                pass
            await connection.wait(5)
            await connection.write(b"answer")

        serving = self.serve(late)
        serving.connect(b"question")
        serving.client.fin()
        serving.network.run(4)
        self.assertEqual((serving.client.received, serving.client.ended), (b"", False))
        serving.network.run(2)
        self.assertEqual((serving.client.received, serving.client.ended), (b"answer", True))
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})

    def test_end_leaves_the_clients_direction_open(self):
        got = []

        async def listens(connection):
            await connection.write(b"go ahead")
            connection.end()
            while data := await connection.read():
                got.append(data)

        serving = self.serve(listens)
        serving.connect()
        self.assertTrue(serving.client.ended)
        serving.say(b"late")
        serving.client.fin()
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual((got, serving.moved), ([b"late"], (4, 8)))

    def test_written_bytes_arrive_while_the_client_still_sends(self):
        async def brief(connection):
            await connection.write(b"answer")

        serving = self.serve(brief)
        serving.connect(b"a question that nobody reads")
        self.assertEqual((serving.client.received, serving.client.ended), (b"answer", True))
        self.assertFalse(serving.client.was_reset)
        serving.say(b"and another")
        serving.client.fin()
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual(serving.moved, (0, 6))

    def test_client_that_never_closes_hits_the_half_close_timeout(self):
        async def brief(connection):
            await connection.write(b"answer")

        serving = self.serve(brief, half_close_timeout="5s")
        serving.connect()
        serving.network.run(4)
        self.assertEqual(len(serving.proxy.connections), 1)
        serving.network.run(2)
        self.assertEqual(serving.closed, {CloseReason.HALF_CLOSE_TIMEOUT: 1})

    def test_close_waits_for_the_client_and_can_be_repeated(self):
        events = []

        async def polite(connection):
            await connection.write(b"bye")
            await connection.close()
            events.append("closed")
            await connection.close()
            events.append("still closed")

        serving = self.serve(polite)
        serving.connect()
        self.assertEqual(events, [])
        serving.client.fin()
        serving.settle()
        self.assertEqual(events, ["closed", "still closed"])
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})

    def test_unread_bytes_do_not_keep_the_connection_open(self):
        go_on = Deferred()

        async def busy(connection):
            await go_on

        serving = self.serve(busy)
        serving.connect(b"unread")
        go_on.callback(None)
        serving.client.fin()
        self.assertEqual((serving.closed, serving.moved), ({CloseReason.NORMAL: 1}, (0, 0)))

    def end_and_keep_running(self, events, go_on):
        """Both directions have ended, so that the transport may close; the coroutine still runs."""

        async def busy(connection):
            connection.end()
            try:
                await go_on
            finally:
                events.append("done")

        serving = self.serve(busy)
        serving.connect()
        serving.client.transport.peer.lost(ConnectionDone())
        self.assertEqual((events, len(serving.proxy.connections)), ([], 1))
        return serving

    def test_coroutine_may_finish_after_both_directions_ended(self):
        events, go_on = [], Deferred()
        serving = self.end_and_keep_running(events, go_on)
        go_on.callback(None)
        self.assertEqual((events, serving.closed), (["done"], {CloseReason.NORMAL: 1}))

    def test_close_after_both_directions_ended_is_complete_at_once(self):
        events, go_on = [], Deferred()

        async def closes(connection):
            connection.end()
            await go_on
            await connection.close()
            events.append("closed")

        serving = self.serve(closes)
        serving.connect()
        serving.client.transport.peer.lost(ConnectionDone())
        go_on.callback(None)
        self.assertEqual((events, serving.closed), (["closed"], {CloseReason.NORMAL: 1}))

    def test_abort_after_both_directions_ended_is_an_orderly_close(self):
        go_on = Deferred()

        async def aborts(connection):
            connection.end()
            await go_on
            connection.abort()
            await Deferred()

        serving = self.serve(aborts)
        serving.connect()
        serving.client.transport.peer.lost(ConnectionDone())
        go_on.callback(None)
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})

    def test_admin_can_end_it_after_both_directions_ended(self):
        events = []
        serving = self.end_and_keep_running(events, Deferred())
        serving.proxy.end_connection(serving.record.id)
        self.assertEqual((events, serving.closed), (["done"], {CloseReason.ADMIN: 1}))

    def test_abort_resets_the_client(self):
        async def rude(connection):
            connection.abort()

        serving = self.serve(rude)
        serving.connect()
        self.assertTrue(serving.client.was_reset)
        self.assertEqual(serving.closed, {CloseReason.UPSTREAM_RESET: 1})

    def test_fin_on_a_transport_without_half_close_is_an_end(self):
        got = []

        async def collect(connection):
            while data := await connection.read():
                got.append(data)
            got.append(data)

        serving = self.serve(collect, Nature(half_closes=False))
        serving.connect(b"all")
        serving.client.fin()
        self.assertEqual(serving.closed, {CloseReason.NORMAL: 1})
        self.assertEqual(got, [b"all", b""])


class FactTests(CoroutineTestCase):
    def test_connection_has_the_announced_client_and_header(self):
        seen = []

        async def looks(connection):
            seen.append(connection)

        serving = self.serve(looks, proxy_ips=["192.0.2.1"])
        serving.connect(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n")
        (connection,) = seen
        self.assertEqual((connection.client, connection.peer), (("203.0.113.7", 4711), ("192.0.2.1", 50000)))
        self.assertEqual((connection.port, connection.route), (7000, ROUTE))
        self.assertEqual((connection.id, connection.tls), (1, None))
        self.assertEqual(connection.header.destination, ("198.51.100.1", 443))
        self.assertEqual(
            (connection.sni, connection.host, connection.request, connection.protocol),
            (None, None, None, "tcp"),
        )
        self.assertIs(connection.facts.detected.announced.header, connection.header)

    def test_connection_has_the_detected_request_and_its_bytes(self):
        seen = []

        async def looks(connection):
            seen.extend([connection.sni, connection.host, connection.request.path, await connection.read()])

        serving = self.serve(looks, match={"domains": ["a.example"]})
        request = b"GET /x HTTP/1.1\r\nHost: A.example\r\n\r\n"
        serving.connect(request)
        self.assertEqual(seen, [None, "a.example", "/x", request])

    def test_record_shows_the_relay_and_state(self):
        async def waits(connection):
            await connection.read()

        serving = self.serve(waits)
        serving.connect()
        self.assertEqual((serving.record.relay, serving.record.state), (None, ConnectionState.RELAYING))
        self.assertEqual(serving.record.owner.gone(), (False, False))
