"""``smartproxy top``: one snapshot printed, and the live view until the user quits."""

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

from smartproxy.cli.board import Board
from smartproxy.cli.snapshot import snapshot
from smartproxy.cli.top import Keys, TopView, top
from smartproxy.errors import AdminRequestFailed
from tests.cli.test_board import METRICS, ROUTES, STATUS
from tests.cli.test_remote import FailingAgent, RemoteCase


class OnceTests(RemoteCase):
    def run_top(self, *arguments):
        return self.run_command(top, *arguments)

    def test_once_json_prints_a_snapshot(self):
        self.control.connect("192.0.2.7", received=10)
        result = self.run_top("--once", "--json")
        printed = json.loads(result.output)
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(printed["connections"], {"active": 1, "total": 1})
        self.assertEqual(
            printed["routes"],
            [
                {
                    "name": "web",
                    "active": 1,
                    "total": 1,
                    "in": 10.0,
                    "out": 0.0,
                    "bytesReceived": 10,
                    "bytesSent": 0,
                    "ports": [443, "8000-8010"],
                    "targets": ["10.0.0.1:9000", "callable:preserve"],
                    "action": "forward",
                    "requests": None,
                }
            ],
        )
        self.assertEqual(printed["clients"][0]["ip"], "192.0.2.7")
        self.assertEqual(set(printed["zombies"]), {"full", "half", "stuck"})

    def test_filter_and_sort_apply_to_json(self):
        for route in ("b-route", "a-route", "other"):
            self.control.connect(route=route)
        printed = json.loads(self.run_top("--once", "--json", "--filter", "-route", "--sort", "name").output)
        self.assertEqual([route["name"] for route in printed["routes"]], ["a-route", "b-route"])

    def test_targets_are_printed_where_they_are_asked_for(self):
        printed = json.loads(self.run_top("--once", "--json", "--filter", "10.0.0.1").output)
        self.assertEqual([target["name"] for target in printed["targets"]], ["10.0.0.1:9000"])
        self.assertIn("2 targets", self.run_top("--once", "--targets").output)
        self.assertNotIn("targets▲", self.run_top("--once").output)

    def test_once_prints_a_table(self):
        self.control.connect("192.0.2.7")
        output = self.run_top("--once").output
        self.assertIn("1 active of 1", output)
        self.assertIn("192.0.2.7", output)

    def test_without_a_terminal_one_snapshot_is_printed(self):
        self.assertIn("0 active of 0", self.run_top().output)

    def test_no_proxy_is_one_line_and_exit_code_1(self):
        self.use(FailingAgent(Refused()))
        result = self.run_top("--once")
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(len(result.stderr.splitlines()), 1)

    def test_json_without_once_is_wrong_usage(self):
        self.assertEqual(self.run_top("--json").exit_code, 2)


class TopViewTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.board = Board()
        self.answer = snapshot(STATUS, METRICS, ROUTES)
        self.fetches = 0
        self.drawn_count = 0
        self.view = TopView(self.clock, self.fetch, self.board, self.draw)
        self.ended = self.view.start(2.0)

    def fetch(self):
        self.fetches += 1
        if isinstance(self.answer, Deferred):
            return self.answer
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def draw(self):
        self.drawn_count += 1

    def test_proxy_is_polled_at_once_and_then_every_interval(self):
        self.assertEqual((self.fetches, self.drawn_count), (1, 2))
        self.clock.pump([1.0] * 4)
        self.assertEqual((self.fetches, self.drawn_count), (3, 4))
        self.assertNoResult(self.ended)

    def test_key_draws_at_once_without_a_request(self):
        self.view.press("n")
        self.assertEqual((self.fetches, self.drawn_count), (1, 3))

    def test_targets_are_asked_for_at_once_when_their_view_is_opened(self):
        self.answer = self.answer._replace(targets=[])
        self.view.press("g")
        self.assertEqual((self.fetches, self.drawn_count), (2, 4))
        self.view.press("g")
        self.view.press("g")
        self.assertEqual((self.fetches, self.drawn_count), (2, 6))

    def test_q_stops_polling(self):
        self.view.press("nq")
        self.assertIsNone(self.successResultOf(self.ended))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.view.press("q")

    def test_proxy_that_does_not_reply_is_polled_until_it_does(self):
        there, self.answer = self.answer, AdminRequestFailed("no \x1b proxy")
        self.clock.advance(2.0)
        self.assertEqual((self.board._failure, self.board._age), ("no \\x1b proxy", 2.0))
        self.clock.advance(2.0)
        self.assertEqual(self.board._age, 4.0)
        self.answer = there
        self.clock.advance(2.0)
        self.assertEqual((self.fetches, self.board._failure), (4, ""))
        self.assertNoResult(self.ended)

    def test_reply_after_quit_draws_nothing(self):
        late = self.answer
        self.answer = Deferred()
        self.clock.advance(2.0)
        self.view.press("q")
        drawn = self.drawn_count
        self.answer.callback(late)
        self.assertEqual(self.drawn_count, drawn)

    def test_unexpected_exception_ends_the_view_and_is_passed_on(self):
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
        self.keys_pressed, self.closed = [], []
        self.keys = Keys(self.reactor, self.terminal, self.keys_pressed.append, lambda: self.closed.append(1))

    def test_keys_are_read_without_enter_and_the_mode_is_restored(self):
        before = termios.tcgetattr(self.terminal)
        self.keys.start()
        (reader,) = self.reactor.readers
        verifyObject(IReadDescriptor, reader)
        os.write(self.keyboard, b"n")
        reader.doRead()
        self.assertEqual(self.keys_pressed, ["n"])
        self.keys.stop()
        self.assertEqual(self.reactor.readers, [])
        self.assertEqual(termios.tcgetattr(self.terminal), before)

    def test_closed_terminal_is_reported(self):
        self.patch(os, "read", lambda _fd, _most: b"")
        self.keys.doRead()
        self.assertEqual((self.keys_pressed, self.closed), ([], [1]))
