"""Checks by conversation."""

from __future__ import annotations

import re

from smartproxy.model.plan.check import CheckKind, StepPlan
from tests.upstream.health.checking import CheckCase


class ScriptTests(CheckCase):
    def script(self, *steps, **more):
        self.check(CheckKind.SCRIPT, steps=tuple(StepPlan(**step) for step in steps), fall=1, **more)
        self.far = self.until_dialed()

    def test_a_conversation_passes(self):
        self.script(
            {"expect": b"220"}, {"send": b"QUIT\r\n"}, {"pattern": re.compile(rb"^\s*221.*\n", re.MULTILINE)}
        )
        self.far.write(b"22")
        self.advance(0.1)
        self.far.write(b"0 ready\r\n")
        self.advance(0.1)
        self.assertEqual(bytes(self.far.received), b"QUIT\r\n")
        self.far.write(b"221 bye\r\n")
        self.advance(0.2)
        self.assertTrue(self.last().ok, self.last().detail)

    def test_another_answer_is_shown(self):
        self.script({"send": b"PING\r\n"}, {"expect": b"+PONG"})
        self.far.write(b"-NOAUTH \x1b[31m required\r\n")
        self.advance(1.2)
        self.assertEqual(
            (self.last().ok, self.last().detail),
            (False, r"step 2: got '-NOAUTH \x1b[31m required\r\n', and no more in time"),
        )

    def test_a_target_that_closes_fails(self):
        self.script({"expect": b"220"})
        self.far.fin()
        self.advance(0.2)
        self.assertEqual(self.last().detail, "step 1: got nothing, and it closed the connection")

    def test_an_endless_answer_is_bounded(self):
        self.script({"expect": b"220"})
        for _ in range(80):
            self.far.write(b"x" * 1024)
            self.advance(0.01)
        self.advance(0.2)
        self.assertIn("not in the first", self.last().detail)

    def test_the_connection_ends_in_order(self):
        """A RST while the target still speaks makes MySQL count an error of the host."""
        self.script({"expect": b"220"})
        self.far.write(b"220 ready\r\n and more")
        self.advance(0.1)
        self.assertTrue(self.far.ended)
        self.far.write(b"later")
        self.far.fin()
        self.advance(0.2)
        self.assertFalse(self.far.was_reset)

    def test_a_target_that_does_not_close_is_aborted_after_a_second(self):
        self.script({"expect": b"220"})
        self.far.write(b"220 ready\r\n")
        self.advance(1.3)
        self.assertTrue(self.far.was_reset)
