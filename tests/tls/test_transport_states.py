"""The states of TLS as a transport: the tables, and what is asked of one that has ended or was lost."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import IllegalTransition
from smartproxy.flow.states import following
from smartproxy.tls import channel as tls_channel
from smartproxy.tls import transport as tls_transport
from smartproxy.tls.channel import PLAIN_VIEW
from smartproxy.tls.transport import INPUT, OUTPUT, TlsEvent, TlsInput, TlsOutput
from tests.relays.tls_worlds import TlsMemoryWorld, TlsSocketWorld


class TableTests(SynchronousTestCase):
    def test_every_state_has_a_row(self):
        self.assertEqual((set(INPUT), set(OUTPUT)), (set(TlsInput), set(TlsOutput)))

    def test_every_event_in_every_state_is_followed_or_raises(self):
        for table in (INPUT, OUTPUT):
            for state, event in itertools.product(table, TlsEvent):
                if event in table[state]:
                    self.assertIs(following(table, state, event), table[state][event])
                else:
                    self.assertRaises(IllegalTransition, following, table, state, event)

    def test_every_state_can_be_lost(self):
        """The transport does this transition without the table, for speed."""
        self.assertEqual({row[TlsEvent.LOST] for row in INPUT.values()}, {TlsInput.CLOSED})
        self.assertEqual({row[TlsEvent.LOST] for row in OUTPUT.values()}, {TlsOutput.CLOSED})


class TransportTests(SynchronousTestCase):
    def world(self):
        world = TlsMemoryWorld(self)
        return world, world.near[0].transport

    def states(self, transport):
        return transport._input, transport._output

    def test_it_begins_paused_and_reads_once_it_is_resumed(self):
        world, transport = self.world()  # the client's side was resumed by the world, the upstream's was not
        self.assertEqual(self.states(transport), (TlsInput.OPEN, TlsOutput.OPEN))
        self.assertEqual(self.states(world.near[1].transport), (TlsInput.HELD, TlsOutput.OPEN))

    def test_nothing_of_the_channel_is_taken_behind_a_detach_within_a_delivery(self):
        """Where an answer switches protocols, a relay gets the connection while bytes of it are delivered."""
        for module in (tls_channel, tls_transport):
            self.patch(module, "PLAIN", 4)
        world = TlsSocketWorld(self)
        transport = world.near[0].transport
        channel, delivered = transport.channel, []

        class Detaching:
            def data_received(self, data):
                delivered.append(data)
                channel.connection.send(b"an answer")  # as to a change of keys: not sent yet
                self.given = transport.detach()

        world.near[0].receiver = detaching = Detaching()
        world.client.write(b"one,two")
        world.settle()
        self.assertEqual(delivered, [b"one,"])
        self.assertEqual(PLAIN_VIEW[: channel.read()], b"two")
        self.assertTrue(channel.take_output())
        detaching.given.sock.close()

    def test_an_end_in_each_direction_is_a_state_of_its_own(self):
        world, transport = self.world()
        world.client.fin()
        world.settle()
        self.assertEqual(self.states(transport), (TlsInput.ENDED, TlsOutput.OPEN))
        transport.end_output()
        self.assertEqual(self.states(transport), (TlsInput.ENDED, TlsOutput.ENDED))

    def test_an_end_that_is_asked_for_again_changes_nothing(self):
        """The close_notify is sent once, and nothing is written behind it."""
        world, transport = self.world()
        for _ in range(2):
            transport.loseWriteConnection()
            transport.end_output()
            transport.cut_output()
            transport.write(b"late")
        world.settle()
        self.assertEqual((world.client.received, world.client.ended), (b"", True))

    def test_a_transport_that_was_lost_takes_any_call(self):
        world, transport = self.world()
        world.client.rst()
        world.settle()
        self.assertEqual(self.states(transport), (TlsInput.CLOSED, TlsOutput.CLOSED))
        for call in (
            transport.resumeProducing,
            transport.pauseProducing,
            transport.end_output,
            transport.cut_output,
            transport.loseWriteConnection,
            transport.loseConnection,
            transport.abortConnection,
        ):
            call()
        transport.write(b"late")
        transport.input_ended()
        self.assertEqual(self.states(transport), (TlsInput.CLOSED, TlsOutput.CLOSED))
