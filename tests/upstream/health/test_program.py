"""Checks by a callable of the embedding program."""

from __future__ import annotations

import asyncio

from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from smartproxy.errors import CheckFailed
from smartproxy.model.address import UnixEndpoint
from smartproxy.model.plan.check import CheckKind
from smartproxy.model.target_status import CheckedTarget
from tests.upstream.health.checking import HOST, CheckCase


class ProgramCase(CheckCase):
    def found(self, program, seconds=0.6, **more):
        self.check(CheckKind.PROGRAM, program=program, **({"fall": 1} | more))
        self.advance(seconds)
        last = self.last()
        return None if last is None else (last.ok, last.detail)


class AnswerTests(ProgramCase):
    def test_the_callable_gets_the_target(self):
        seen = []
        self.found(seen.append)
        self.assertEqual(seen, [CheckedTarget("app", "a", HOST, 80)])
        self.setUp()
        self.found(seen.append, check_port=8008)
        self.assertEqual(seen[-1].port, 8008)

    def test_a_unix_socket_has_its_path_and_no_port(self):
        seen = []
        found = self.found(seen.append, hosts=(UnixEndpoint("/run/app.sock"),), port=None)
        self.assertEqual(found, (True, "passed"))
        self.assertEqual(seen, [CheckedTarget("app", "a", "unix:/run/app.sock", 0)])

    def test_a_string_is_shown_and_nothing_is_needed(self):
        async def awaited(_):
            return "lag 0 s"

        for program, detail in (
            (lambda _: "lag 0 s", "lag 0 s"),
            (lambda _: None, "passed"),
            (awaited, "lag 0 s"),
            (lambda _: succeed("lag 0 s"), "lag 0 s"),
            (lambda _: "two\nlines \x1b[1m", r"two\nlines \x1b[1m"),
            (lambda _: "x" * 1000, "x" * 200 + "..."),
        ):
            self.setUp()
            self.assertEqual(self.found(program), (True, detail))

    def test_an_object_with_call_is_a_callable(self):
        class Replica:
            def __init__(self, lag):
                self.lag = lag

            async def __call__(self, target):
                return f"{target.name} lags {self.lag} s"

        self.assertEqual(self.found(Replica(3)), (True, "a lags 3 s"))

    def test_what_it_raises_is_the_reason(self):
        async def awaited(_):
            raise CheckFailed("lags 90 s")

        def raising(_):
            raise KeyError("lag")

        for program, detail in (
            (awaited, "lags 90 s"),
            (raising, "KeyError: 'lag'"),
            (lambda _: fail(ZeroDivisionError()), "ZeroDivisionError"),
            (lambda _: fail(OSError("no\nroute")), r"OSError: no\nroute"),
            (lambda: None, "TypeError: "),
        ):
            self.setUp()
            ok, shown = self.found(program)
            self.assertEqual((ok, shown[: len(detail)]), (False, detail))
        self.assertEqual(self.member("a").state, "down")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_another_answer_is_a_failure(self):
        for answer in (False, True, 0, b"ok", ["a"]):
            self.setUp()
            self.assertEqual(
                self.found(lambda _, answer=answer: answer),
                (False, f"the callable returned {answer!r}: it must return a string or None, or raise"),
            )

    def test_rise_fall_and_interval_hold(self):
        asked = []
        self.found(lambda target: asked.append(target) or fail(ValueError("no")), 2.1, fall=3)
        self.assertEqual((len(asked), self.member("a").state), (3, "down"))


class TimeTests(ProgramCase):
    def test_it_is_cancelled_when_its_time_is_over(self):
        cancelled = []
        self.assertEqual(self.found(lambda _: Deferred(cancelled.append), 1.7), (False, "no answer in 1 s"))
        self.assertEqual(len(cancelled), 1)

    def test_a_later_answer_is_dropped(self):
        for late in ("it is up", ValueError("late")):
            self.setUp()
            answers = []

            def program(_, answers=answers):
                answers.append(Deferred())
                return answers[-1]

            self.found(program, 1.7)
            (answers[0].callback if isinstance(late, str) else answers[0].errback)(late)
            self.advance(0.1)
            self.assertFalse(self.last().ok)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_one_that_swallows_its_cancel_is_not_asked_again_before_it_ends(self):
        """Else one more would run with every interval."""
        running = []

        async def stubborn(_):
            running.append(Deferred())
            while True:
                try:
                    return await running[-1]
                except CancelledError:
                    running.append(Deferred())

        self.found(stubborn, 3, interval=3.0, fast_interval=3.0)
        self.assertEqual(self.last().detail, "no answer in 1 s")
        self.advance(2)
        self.assertEqual(self.last().detail, "its former check has not ended yet")
        self.assertEqual(len(running), 2)
        running[-1].callback("late")
        self.advance(3)
        self.assertEqual(len(running), 3)
        running[-1].callback("in time")
        self.advance(0.1)
        self.assertEqual((self.last().ok, self.last().detail), (True, "in time"))

    def test_a_fallback_instead_of_its_cancel_does_not_count(self):
        async def falling_back(_):
            try:
                await Deferred()
            except CancelledError:
                return "as good as up"

        self.assertEqual(self.found(falling_back, 1.7), (False, "no answer in 1 s"))

    def test_exceptions_of_a_cancel_are_not_logged_for_ever(self):
        async def complaining(_):
            try:
                await Deferred()
            except CancelledError:
                raise ZeroDivisionError from None

        def broken(_):
            raise ZeroDivisionError

        for program in (complaining, lambda _: Deferred(broken)):
            self.setUp()
            self.found(program, 5)
            self.assertFalse(self.last().ok)
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_an_asyncio_future_is_awaited(self):
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        future = loop.create_future()
        self.check(CheckKind.PROGRAM, program=lambda _: future)
        self.advance(0.6)
        future.set_result("done")
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual((self.last().ok, self.last().detail), (True, "done"))

    def test_stop_cancels_it(self):
        cancelled = []
        self.found(lambda _: Deferred(cancelled.append), 0.7)
        self.checks.stop()
        self.assertEqual(len(cancelled), 1)
        self.assertIsNone(self.last())
        self.assertEqual(self.flushLoggedErrors(), [])
