"""What stays of connections, by the kind of their end; ``python -m benchmarks.ends`` measures it with 20,000 of each."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.ends.__main__ import CYCLES_BOUND, RSS_BOUND, Measured
from benchmarks.ends.proxy import Sizes
from tests.live.programs import ROOT, environment, needed, run

_SOME = ("client's FIN", "target's RST", "limit", "404", "garbage", "close_notify", "handler raises", "admin")


class ShortRunTests(SynchronousTestCase):
    def test_nothing_stays_without_the_collector(self):
        needed("haproxy")  # its version is among the facts of the machine
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "ends.json")
            command = [sys.executable, "-m", "benchmarks.ends", "--connections", "50", "--output", file]
            ran = run(*command, "--only", *_SOME, within=300, cwd=ROOT, env=environment())
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
            kinds = json.loads(file.read_text())["kinds"]
            self.assertGreaterEqual(len(kinds), len(_SOME))
            self.assertEqual([kind["kind"] for kind in kinds if kind["unreachable"]], [])


class JudgementTests(SynchronousTestCase):
    def passes(self, *, rss=0, descriptors=10, active=0, unreachable=0):
        return Measured(
            "any", 1000, 1.0, Sizes(0, 10, 0), Sizes(rss, descriptors, active), unreachable
        ).passes

    def test_as_before(self):
        self.assertTrue(self.passes(rss=RSS_BOUND, descriptors=9))

    def test_more_than_before(self):
        self.assertFalse(self.passes(rss=RSS_BOUND + 1))
        self.assertFalse(self.passes(descriptors=11))
        self.assertFalse(self.passes(active=1))
        self.assertFalse(self.passes(unreachable=1000 * CYCLES_BOUND))
