"""``smartproxy top``: one look, printed; and looks again and again until q."""

from __future__ import annotations

import json
import os
import termios

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from smartproxy.cli.board import Board, look
from smartproxy.cli.top import Keys, TopView, top
from smartproxy.errors import AdminRequestFailed
from tests.cli.test_board import METRICS, ROUTES, STATUS
from tests.cli.test_remote import FailingAgent, RemoteCase


class OnceTests(RemoteCase):
    def run_top(self, *arguments):
        return self.run_command(top, *arguments)

    def test_json_for_scripts(self):
        self.control.connect("192.0.2.7", received=10)
        result = self.run_top("--once", "--json")
        told = json.loads(result.output)
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(told["connections"], {"active": 1, "total": 1})
        self.assertEqual(told["routes"], [{"name": "web", "active": 1, "total": 1, "in": 10.0, "out": 0.0}])
        self.assertEqual(told["clients"][0]["ip"], "192.0.2.7")
        self.assertEqual(set(told["zombies"]), {"full", "half", "stuck"})

    def test_filter_and_sort_hold_for_json_too(self):
        for route in ("b-route", "a-route", "other"):
            self.control.connect(route=route)
        told = json.loads(self.run_top("--once", "--json", "--filter", "-route", "--sort", "name").output)
        self.assertEqual([route["name"] for route in told["routes"]], ["a-route", "b-route"])

    def test_a_table_for_eyes(self):
        self.control.connect("192.0.2.7")
        output = self.run_top("--once").output
        self.assertIn("1 active of 1", output)
        self.assertIn("192.0.2.7", output)

    def test_without_a_terminal_it_looks_once(self):
        self.assertIn("0 active of 0", self.run_top().output)

    def test_no_proxy_is_one_line_and_exit_code_1(self):
        self.use(FailingAgent(Refused()))
        result = self.run_top("--once")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def test_json_without_once_is_wrong_usage(self):
        self.assertEqual(self.run_top("--json").exit_code, 2)


class WatchTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.board = Board()
        self.answer = look(STATUS, METRICS, ROUTES)
        self.looks = 0
        self.pictures = 0
        self.watch = TopView(self.clock, self.look, self.board, self.draw)
        self.ended = self.watch.start(2.0)

    def look(self):
        self.looks += 1
        if isinstance(self.answer, Deferred):
            return self.answer
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def draw(self):
        self.pictures += 1

    def test_it_looks_at_once_and_then_every_interval(self):
        self.assertEqual((self.looks, self.pictures), (1, 2))
        self.clock.pump([1.0] * 4)
        self.assertEqual((self.looks, self.pictures), (3, 4))
        self.assertNoResult(self.ended)

    def test_a_key_is_seen_at_once(self):
        self.watch.pressed("n")
        self.assertEqual((self.looks, self.pictures), (1, 3))

    def test_q_ends_it(self):
        self.watch.pressed("nq")
        self.assertIsNone(self.successResultOf(self.ended))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.pressed("q")

    def test_a_proxy_that_goes_away_is_asked_again_and_may_come_back(self):
        there, self.answer = self.answer, AdminRequestFailed("nobody is \x1b there")
        self.clock.advance(2.0)
        self.assertEqual(self.board._missing, "nobody is \\x1b there")
        self.clock.advance(2.0)
        self.answer = there
        self.clock.advance(2.0)
        self.assertEqual((self.looks, self.board._missing), (4, ""))
        self.assertNoResult(self.ended)

    def test_an_answer_after_the_end_draws_nothing(self):
        late = self.answer
        self.answer = Deferred()
        self.clock.advance(2.0)
        self.watch.pressed("q")
        drawn = self.pictures
        self.answer.callback(late)
        self.assertEqual(self.pictures, drawn)

    def test_a_fault_of_ours_ends_it_and_is_not_hidden(self):
        self.answer = ZeroDivisionError()
        self.clock.advance(2.0)
        self.failureResultOf(self.ended, ZeroDivisionError)


class FakeReactor:
    def __init__(self):
        self.readers = []
        self.addReader = self.readers.append
        self.removeReader = self.readers.remove


class KeysTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = FakeReactor()
        self.keyboard, self.terminal = os.openpty()
        self.addCleanup(os.close, self.keyboard)
        self.addCleanup(os.close, self.terminal)
        self.pressed, self.gone = [], []
        self.keys = Keys(self.reactor, self.terminal, self.pressed.append, lambda: self.gone.append(1))

    def test_keys_come_without_a_line_end_and_the_terminal_is_left_as_it_was(self):
        before = termios.tcgetattr(self.terminal)
        self.keys.start()
        (reader,) = self.reactor.readers
        verifyObject(IReadDescriptor, reader)
        os.write(self.keyboard, b"n")
        reader.doRead()
        self.assertEqual(self.pressed, ["n"])
        self.keys.stop()
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(termios.tcgetattr(self.terminal), before)

    def test_a_terminal_that_has_gone_ends_it(self):
        self.patch(os, "read", lambda _fd, _most: b"")
        self.keys.doRead()
        self.assertEqual((self.pressed, self.gone), ([], [1]))
