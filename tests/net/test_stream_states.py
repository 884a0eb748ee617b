"""The states of a stream: the whole table, and a stream whose methods are called in any order."""

from __future__ import annotations

import itertools
from random import Random

from smartproxy.errors import IllegalTransition
from smartproxy.flow.states import following
from smartproxy.net.stream_states import INPUT, OUTPUT, StreamEvent, StreamInput, StreamOutput
from tests.net.streams import HalfHeard, StreamCase
from tests.net.test_stream_producers import Producer

CLOSING = {StreamOutput.CLOSING, StreamOutput.ABORTING, StreamOutput.CLOSED}


class TableTests(StreamCase):
    def test_every_state_has_a_row(self):
        self.assertEqual((set(INPUT), set(OUTPUT)), (set(StreamInput), set(StreamOutput)))

    def test_every_event_in_every_state_is_followed_or_raises(self):
        for table in (INPUT, OUTPUT):
            for state, event in itertools.product(table, StreamEvent):
                if event in table[state]:
                    self.assertIs(following(table, state, event), table[state][event])
                else:
                    self.assertRaises(IllegalTransition, following, table, state, event)

    def test_every_state_can_be_lost(self):
        """The stream does this transition without the table, for speed."""
        for state in StreamInput:
            self.assertIs(INPUT[state][StreamEvent.LOST], StreamInput.STOPPED)
        for state in StreamOutput:
            self.assertIs(OUTPUT[state][StreamEvent.LOST], StreamOutput.CLOSED)

    def test_no_event_leads_back(self):
        """An end that was asked for is never taken back: the members are in the order of how final they are."""
        for table in (INPUT, OUTPUT):
            for state, row in table.items():
                for after in row.values():
                    self.assertGreaterEqual(after.value, state.value)


class AnythingTests(StreamCase):
    """Users of Twisted may call any method of a transport at any time."""

    def actions(self, stream, far, random):
        def produce():
            stream.registerProducer(Producer(), random.random() < 0.5)

        return {
            "write": lambda: stream.write(bytes(random.choice((1, 70_000, 300_000)))),
            "pause": stream.pauseProducing,
            "resume": stream.resumeProducing,
            "end": stream.loseWriteConnection,
            "lose": stream.loseConnection,
            "abort": stream.abortConnection,
            "produce": lambda: stream._producer or produce(),
            "produce no more": stream.unregisterProducer,
            "far writes": lambda: far.sock and far.write(bytes(1000)),
            "far ends": far.fin,
            "far resets": far.rst,
            "settle": self.pump.settle,
        }

    def test_any_order_of_calls_and_events_keeps_to_the_table(self):
        for seed in range(40):
            random = Random(seed)
            stream, heard, far = self.stream(HalfHeard, buffers=16384)
            far.reading = random.random() < 0.7
            actions = self.actions(stream, far, random)
            for _ in range(random.randint(1, 12)):
                name = random.choice(list(actions))
                if name.startswith("far") and (far.was_reset or name in heard.told):
                    continue
                actions[name]()
                if name in ("far ends", "far resets"):
                    heard.told.append(name)
                with self.subTest(seed=seed, after=name):
                    self.assertIs(stream._input is StreamInput.STOPPED, stream._output in CLOSING)
            stream.abortConnection()
            self.pump.settle()
            self.assertEqual((stream._input, stream._output), (StreamInput.STOPPED, StreamOutput.CLOSED))
        self.assertEqual(self.flushLoggedErrors(), [])
