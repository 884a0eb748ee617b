"""Pipelined requests that are answered at once: others have their turn between them."""

from __future__ import annotations

from smartproxy.flow.work_budget import WorkBudget
from smartproxy.http.downstream1 import AT_ONCE, HELD
from tests.http.case import GET, HttpCase

_REFUSED = GET[:-2] + b"Expect: x\r\n\r\n"
_COUNT = 3 * AT_ONCE


class TurnTests(HttpCase):
    """One client could else keep all others waiting for as long as it sends."""

    def setUp(self):
        self.turns = []
        self.patch(WorkBudget, "call_soon", lambda _, call: self.turns.append(call))
        super().setUp()

    def next_turn(self):
        turns, self.turns = self.turns, []
        for turn in turns:
            turn()
        self.network.settle()

    def answered(self, client):
        return client.received.count(b"HTTP/1.1 417 ")

    def test_some_are_answered_in_each_iteration(self):
        client = self.connect(80, _REFUSED * _COUNT)
        for expected in (1, 2):
            self.assertEqual(self.answered(client), expected * AT_ONCE)
            self.next_turn()
        self.assertEqual(self.answered(client), _COUNT)
        self.assertIn(b"200 OK", self.exchange(client))

    def test_body_of_one_is_not_taken_for_another(self):
        client = self.connect(80, (_REFUSED[:-2] + b"Content-Length: 0\r\n\r\n") * AT_ONCE + GET)
        self.next_turn()
        self.answer()
        self.assertEqual((self.answered(client), client.received[-2:]), (AT_ONCE, b"ok"))

    def test_client_is_not_read_meanwhile(self):
        client = self.network.connect(80)
        client.write(_REFUSED * _COUNT)
        self.network.settle()
        client.write(_REFUSED * (4 * HELD // len(_REFUSED)))
        self.network.settle()
        self.assertGreater(client.waiting, 2 * HELD)
        while self.turns:
            self.next_turn()
        self.assertEqual((client.waiting, self.answered(client)), (0, _COUNT + 4 * HELD // len(_REFUSED)))

    def test_client_that_ends_its_direction(self):
        client = self.connect(80, _REFUSED * _COUNT)
        client.fin()
        while self.turns:
            self.network.settle()
            self.next_turn()
        self.network.run(1)
        self.assertEqual((self.answered(client), client.ended), (_COUNT, True))

    def test_client_that_resets(self):
        client = self.connect(80, _REFUSED * _COUNT)
        client.rst()
        self.network.run(1)
        self.next_turn()
        self.assertEqual((self.proxy.registry.active, self.turns), (0, []))
