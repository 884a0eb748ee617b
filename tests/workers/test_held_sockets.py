"""Listening sockets that outlive the workers which accept from them."""

from __future__ import annotations

import socket

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.proxy.given import ListeningSocket
from smartproxy.workers.held_sockets import HeldSockets
from tests.ports import free_ports


class HeldSocketsTests(SynchronousTestCase):
    def setUp(self):
        self.held = HeldSockets(3)
        self.addCleanup(self.held.close)
        self.one, self.other = (("127.0.0.1", number) for number in free_ports(2))

    def connect(self, place):
        client = socket.create_connection((place[0] or "127.0.0.1", place[1]), timeout=5)
        self.addCleanup(client.close)
        return client

    def waiting(self, place):
        """How many connections wait in each slot's queue; they are accepted."""
        counts = []
        for slot in (1, 2, 3):
            count = 0
            opened = self.held.of_slot(slot)[ListeningSocket(place, slot)]
            while True:
                try:
                    accepted, _ = opened.accept()
                except BlockingIOError:
                    break
                accepted.close()
                count += 1
            counts.append(count)
        return counts

    def test_each_slot_has_a_socket_for_each_place(self):
        self.assertEqual(self.held.open({self.one, self.other}), {self.one, self.other})
        for slot in (1, 2, 3):
            self.assertEqual(
                self.held.of_slot(slot).keys(),
                {ListeningSocket(self.one, slot), ListeningSocket(self.other, slot)},
            )
        self.assertEqual(self.held.of_slot(1, {self.one}).keys(), {ListeningSocket(self.one, 1)})

    def test_the_kernel_spreads_connections_over_the_slots(self):
        self.held.open({self.one})
        for _ in range(60):
            self.connect(self.one)
        counts = self.waiting(self.one)
        self.assertEqual(sum(counts), 60)
        self.assertNotIn(0, counts)

    def test_places_that_are_open_stay_as_they_are(self):
        self.held.open({self.one})
        before = self.held.of_slot(2)
        self.assertEqual(self.held.open({self.one, self.other}), {self.other})
        self.assertIs(
            self.held.of_slot(2)[ListeningSocket(self.one, 2)], before[ListeningSocket(self.one, 2)]
        )

    def test_a_second_proxy_is_refused(self):
        self.held.open({self.one})
        second = HeldSockets(2)
        with self.assertRaises(CannotListenError):
            second.open({self.one})
        self.assertEqual(second.addresses(), {})

    def test_nothing_is_open_after_a_failure(self):
        taken = socket.create_server(self.other)
        self.addCleanup(taken.close)
        with self.assertRaises(CannotListenError) as caught:
            self.held.open({self.one, self.other})
        self.assertEqual((caught.exception.interface, caught.exception.port), self.other)
        self.assertEqual(self.held.addresses(), {})
        with self.assertRaises(ConnectionRefusedError):
            self.connect(self.one)

    def test_an_address_beside_every_address(self):
        everywhere = ("", self.one[1])
        self.held.open({self.one})
        self.held.open({self.one, everywhere})
        self.connect(self.one)
        self.assertEqual(sum(self.waiting(self.one)), 1)
        self.connect(("127.0.0.2", self.one[1]))
        self.assertEqual(sum(self.waiting(everywhere)), 1)

    def test_all_slots_have_the_number_that_the_kernel_has_chosen(self):
        place = ("127.0.0.1", 0)
        self.held.open({place})
        numbers = {
            opened.getsockname()[1] for slot in (1, 2, 3) for opened in self.held.of_slot(slot).values()
        }
        self.assertEqual(numbers, {self.held.addresses()[place].port})

    def test_what_no_route_needs_is_closed(self):
        self.held.open({self.one, self.other})
        self.held.keep({self.other})
        self.assertEqual(self.held.addresses().keys(), {self.other})
        with self.assertRaises(ConnectionRefusedError):
            self.connect(self.one)

    def test_what_is_closed_already_can_be_closed(self):
        """A drain closes everything; a reload in progress then fails, and closes what it has opened."""
        opened = self.held.open({self.one})
        self.held.close()
        self.held.close(opened)
        self.assertEqual(self.held.addresses(), {})

    def test_a_narrower_address_is_kept_for_the_wider_one(self):
        everywhere = ("", self.one[1])
        self.held.open({self.one})
        self.held.open({everywhere})
        self.held.keep({everywhere})
        self.assertEqual(self.held.addresses().keys(), {self.one, everywhere})
