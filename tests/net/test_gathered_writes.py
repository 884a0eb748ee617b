"""Small writes of one batch of the poller are sent at its end, one connection after the other."""

from __future__ import annotations

import socket
import struct

from smartproxy.net.stream import Stream
from tests.net.streams import HalfHeard, Heard, StreamCase

#: ``tcpi_segs_out`` of struct tcp_info (linux/tcp.h).
_SEGMENTS_AT = 136


def _segments_sent(stream):
    told = stream.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SEGMENTS_AT + 4)
    return struct.unpack_from("=I", told, _SEGMENTS_AT)[0]


class Recorded:
    """A socket that records what is sent."""

    def __init__(self, sock, sent):
        self._sock = sock
        self._sent = sent

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def send(self, data, *flags):
        self._sent.append(bytes(data))
        return self._sock.send(data, *flags)


class GatheredTests(StreamCase):
    def setUp(self):
        super().setUp()
        self.sent = []

    def stream(self, protocol=HalfHeard, **buffers):
        stream, heard, far = super().stream(protocol, **buffers)
        stream._sock = Recorded(stream._sock, self.sent)
        return stream, heard, far

    def answering(self, *steps, protocol=HalfHeard):
        """A stream whose protocol writes, or does, ``steps`` when it receives something."""
        stream, heard, far = self.stream(protocol)

        def received(data):
            heard.received += data
            for step in steps:
                if callable(step):
                    step(stream)
                else:
                    stream.write(step)

        heard.dataReceived = received
        return stream, heard, far

    def test_writes_of_one_event_are_one_send(self):
        _, _, far = self.answering(b"head ", b"body ", b"end")
        far.write(b"go")
        self.pump.until(lambda: far.received == b"head body end")
        self.assertEqual(self.sent, [b"head body end"])

    def test_everything_is_read_before_anything_is_sent(self):
        streams = [self.answering(b"one"), self.answering(b"two")]
        order = []
        for stream, heard, _ in streams:
            heard.dataReceived = lambda data, stream=stream: (order.append(data), stream.write(b"answer"))
            stream._sock = Recorded(stream._sock, order)
        for _, _, far in streams:
            far.write(b"go")
        self.pump.settle()
        self.pump.until(lambda: all(far.received == b"answer" for _, _, far in streams))
        self.assertEqual(sorted(map(str, order[:2])), ["b'go'", "b'go'"])
        self.assertEqual(order[2:], [b"answer", b"answer"])

    def test_outside_of_a_batch_it_is_sent_at_once(self):
        stream, _, _ = self.stream()
        stream.write(b"now")
        self.assertEqual(self.sent, [b"now"])

    def test_a_large_write_is_sent_at_once_and_in_order(self):
        large = bytes(100_000)
        _, _, far = self.answering(b"small", large, b"last")
        far.write(b"go")
        self.pump.until(lambda: far.received == b"small" + large + b"last")

    def test_a_reused_buffer_may_be_written_from(self):
        buffer = bytearray(b"first")
        _, _, far = self.answering(
            lambda stream: stream.write(memoryview(buffer)),
            lambda _: buffer.__setitem__(slice(None), b"later"),
        )
        far.write(b"go")
        self.pump.until(lambda: far.received == b"first")

    def test_the_fin_is_in_the_segment_of_the_last_bytes(self):
        stream, heard, far = self.answering(b"head ", b"end", Stream.loseWriteConnection)
        before = _segments_sent(stream)
        far.write(b"go")
        self.pump.until(lambda: far.received == b"head end" and far.ended)
        self.assertEqual(heard.told, ["fin sent"])
        # One may acknowledge what was received.
        self.assertLessEqual(_segments_sent(stream) - before, 2)

    def test_the_fin_follows_a_large_write(self):
        large = bytes(range(256)) * 4000
        stream, heard, far = self.answering(large, Stream.loseWriteConnection)
        far.write(b"go")
        self.pump.until(lambda: far.received == large and far.ended)
        self.assertEqual(heard.told, ["fin sent"])
        stream.loseConnection()

    def test_what_was_written_precedes_each_kind_of_end(self):
        for end in ("loseConnection", "loseWriteConnection", "abortConnection"):
            with self.subTest(end=end):
                _, _, far = self.answering(b"last words", lambda stream, end=end: getattr(stream, end)())
                far.write(b"go")
                self.pump.until(lambda far=far: far.received == b"last words")
                self.pump.until(lambda far=far: far.ended or far.was_reset)

    def test_a_fin_that_was_asked_for_precedes_an_abort(self):
        """A client that was answered, and whose connection is reset to make room, still reads the whole answer."""
        _, _, far = self.answering(b"answer", Stream.loseWriteConnection, Stream.abortConnection)
        far.write(b"go")
        far.reading = False
        self.pump.settle()
        far.reading = True
        self.pump.until(lambda: far.ended)
        self.assertEqual(far.received, b"answer")

    def test_an_end_received_in_the_same_event_does_not_drop_it(self):
        """A protocol that cannot half-close is lost with the peer's FIN, right behind its answer."""
        stream, heard, far = self.answering(b"answer", protocol=Heard)
        stream.pauseProducing()
        far.write(b"go")
        far.fin()
        self.pump.settle()
        stream.resumeProducing()
        self.pump.until(lambda: heard.told)
        self.pump.until(lambda: far.received == b"answer")

    def test_a_socket_that_is_detached_or_lent_keeps_the_order(self):
        taken = []
        _, _, far = self.answering(b"before", lambda stream: taken.append(stream.detach()))
        far.write(b"go")
        self.pump.until(lambda: taken)
        self.assertEqual(taken[0].unsent, b"before")
        taken[0].sock.close()

        class Borrower:
            def ready(self, events): ...
            def failed(self, why): ...
            def stop(self): ...

        lent = []
        stream, _, far = self.answering(
            b"head", lambda stream: lent.append(stream.lend(Borrower())), lambda stream: lent[0].send(b"body")
        )
        far.write(b"go")
        self.pump.until(lambda: far.received == b"headbody")
        stream.take_back()

    def test_more_connections_than_are_gathered_lose_nothing(self):
        streams = [self.answering(b"%d" % number) for number in range(80)]
        for _, _, far in streams:
            far.write(b"go")
        for number, (_, _, far) in enumerate(streams):
            self.pump.until(lambda far=far, number=number: far.received == b"%d" % number)

    def test_a_pull_producer_goes_on(self):
        class Pulled:
            left = 5

            def resumeProducing(self):
                self.left -= 1
                stream.write(b"piece ")
                if not self.left:
                    stream.unregisterProducer()

            def stopProducing(self): ...

        stream, _, far = self.answering(lambda stream: stream.registerProducer(Pulled(), False))
        far.write(b"go")
        self.pump.until(lambda: far.received == b"piece " * 5)

    def test_a_failing_producer_ends_its_own_connection_only(self):
        class Failing:
            def pauseProducing(self): ...
            def stopProducing(self): ...

            def resumeProducing(self):
                raise ValueError("broken")

        def hold_back(stream):
            stream.registerProducer(Failing(), True)
            for _ in range(6):
                stream.write(bytes(15_000))

        _, broken, far = self.answering(hold_back)
        _, _, other = self.answering(b"fine")
        for each in (far, other):
            each.write(b"go")
        self.pump.until(lambda: other.received == b"fine")
        self.pump.until(lambda: broken.told)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
