"""A stream as the consumer of a producer: pausing, pulling and ending, as in Twisted."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone, ConnectionLost

from tests.net.streams import MIB, StreamCase


class Producer:
    """Records what its transport asks of it."""

    def __init__(self, on_resume=lambda: None):
        self.asked = []
        self.on_resume = on_resume

    def pauseProducing(self):
        self.asked.append("pause")

    def resumeProducing(self):
        self.asked.append("resume")
        self.on_resume()

    def stopProducing(self):
        self.asked.append("stop")


class ProducerTests(StreamCase):
    def test_a_push_producer_is_paused_while_much_waits(self):
        stream, _, far = self.stream(buffers=16384)
        producer = Producer()
        stream.registerProducer(producer, True)
        far.reading = False
        stream.write(bytes(1000))
        self.assertEqual(producer.asked, [])
        stream.write(bytes(MIB))
        stream.write(bytes(MIB))
        self.assertEqual(producer.asked, ["pause"])
        self.pump.settle()
        self.assertEqual(producer.asked, ["pause"])
        far.reading = True
        self.pump.settle()
        self.assertEqual(producer.asked, ["pause", "resume"])
        self.assertEqual(len(far.received), 2 * MIB + 1000)

    def test_a_pull_producer_is_asked_until_it_unregisters(self):
        stream, _, far = self.stream()
        pieces = [b"%d," % number for number in range(100)]

        def produce():
            if pieces:
                stream.write(pieces.pop(0))
            else:
                stream.unregisterProducer()
                stream.loseConnection()

        stream.registerProducer(Producer(produce), False)
        self.pump.until(lambda: far.ended)
        self.assertEqual(far.received, b"".join(b"%d," % number for number in range(100)))

    def test_a_pull_producer_goes_on_after_a_write_that_waited(self):
        stream, _, far = self.stream(buffers=16384)
        pieces = [bytes(MIB)] * 3

        def produce():
            if pieces:
                stream.write(pieces.pop(0))
            else:
                stream.unregisterProducer()

        stream.registerProducer(Producer(produce), False)
        self.pump.until(lambda: len(far.received) == 3 * MIB)
        self.pump.settle()
        self.assertEqual(pieces, [])

    def test_the_end_waits_for_the_producer(self):
        """As with Twisted's ``FileSender``: the close is asked for at once, and follows the file."""
        for end in ("loseConnection", "loseWriteConnection"):
            with self.subTest(end):
                stream, _, far = self.stream()
                pieces = [b"1", b"2", b"3"]

                def produce(stream=stream, pieces=pieces):
                    if pieces:
                        stream.write(pieces.pop(0))
                    else:
                        stream.unregisterProducer()

                stream.registerProducer(Producer(produce), False)
                getattr(stream, end)()
                self.pump.until(lambda far=far: far.ended)
                self.assertEqual(far.received, b"123")

    def test_only_one_producer_at_a_time(self):
        stream, _, _ = self.stream()
        stream.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, stream.registerProducer, Producer(), True)
        stream.unregisterProducer()
        stream.registerProducer(Producer(), True)

    def test_a_producer_is_stopped_when_the_connection_is_lost(self):
        stream, heard, far = self.stream()
        producer = Producer()
        stream.registerProducer(producer, True)
        far.rst()
        self.pump.settle()
        self.assertEqual((producer.asked, heard.told), (["stop"], [ConnectionLost]))
        late = Producer()
        stream.registerProducer(late, True)
        self.assertEqual(late.asked, ["stop"])

    def test_stop_producing_closes_the_stream(self):
        stream, heard, _ = self.stream()
        stream.stopProducing()
        self.pump.settle()
        self.assertEqual(heard.told, [ConnectionDone])
