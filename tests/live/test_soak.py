"""The soak, shortened; ``make soak`` runs it for an hour. And that its verdicts notice a difference."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.talk import CLEAN, ROUTES
from benchmarks.soak.verdicts import RSS_BOUND, End, verdicts
from tests.live.programs import ROOT, environment, needed, run

_NOTHING = {"received": 0, "sent": 0}


class ShortSoakTests(SynchronousTestCase):
    def test_every_verdict_is_true_after_a_few_seconds(self):
        """Python's development mode makes a warning of the proxy a fault."""
        needed("haproxy")  # its version is among the facts of the machine
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "soak.json")
            command = [
                sys.executable,
                "-m",
                "benchmarks.soak",
                "--minutes",
                "0.1",
                "--strict",
                "--output",
                file,
            ]
            options = ["--warm-up", "5", "--clients", "20", "--big", "16"]
            ran = run(*command, *options, within=300, cwd=ROOT, env=environment())
            self.assertEqual(ran.returncode, 0, ran.stdout + ran.stderr)
            self.assertIn('"big, clean: as it must"', file.read_text())


class VerdictTests(SynchronousTestCase):
    def setUp(self):
        self.ledger = Ledger()
        self.series = {
            name: dict.fromkeys(ROUTES, 0)
            for name in ("connections", "connections_active", "received_bytes", "sent_bytes")
        }
        self.backends = {route: {**_NOTHING, "corrupt": 0} for route in ROUTES}
        self.shown = {
            "totals": {"bytesReceived": 0, "bytesSent": 0},
            "connections": {"byIP": {}},
            "cleanup": {"queued": 0},
            "zombies": {"full": 0},
            "closed": {"error": 0},
            "rejected": {"no_route": 0, "upstream_refused": 0},
        }
        self.warm = {"otherDescriptors": 10, "pipeEnds": 4, "rssBytes": 0}
        self.size = dict(self.warm)
        self.workers, self.decreases = 1, 0

    def false(self, log="", live=()):
        """The verdicts that are not true."""
        end = End(
            ledger=self.ledger,
            backends=self.backends,
            series=self.series,
            shown=self.shown,
            live=list(live),
            warm=self.warm,
            size=self.size,
            failed_reloads=0,
            serves_last_certificate=True,
            workers=self.workers,
            decreases=self.decreases,
            exit_code=0,
            log=log,
        )
        return {what for what, is_true in verdicts(end).items() if not is_true}

    def test_with_workers_what_a_killed_one_had_counted_may_be_missing_and_nothing_decreases(self):
        self.backends["plain"]["received"] = 1
        self.shown["closed"]["error"] = 1
        self.assertEqual(self.false(), {"clean routes: bytes add up", "no fault of ours"})
        self.workers = 2
        self.assertEqual(self.false(), set())
        self.decreases = 1
        self.assertEqual(self.false(), {"no total decreases"})

    def test_all_are_true_where_everything_agrees(self):
        self.assertEqual(self.false(), set())

    def test_one_byte_more_of_the_proxy(self):
        self.series["sent_bytes"]["plain"] = 1
        self.assertEqual(self.false(), {"clean routes: bytes add up", "totals are the sums over routes"})

    def test_bytes_that_a_client_did_not_receive(self):
        for route in CLEAN:
            self.backends[route]["sent"] = 5
            self.assertIn(
                "a route that comes and goes: bytes add up"
                if route == "spare"
                else "clean routes: bytes add up",
                self.false(),
            )
            self.backends[route]["sent"] = 0

    def test_bytes_of_a_removed_route_stay_in_the_totals(self):
        self.ledger.moved["spare"]["sent"] = self.backends["spare"]["received"] = 7
        self.assertEqual(self.false(), {"totals are the sums over routes"})
        self.shown["totals"]["bytesReceived"] = 7
        self.assertEqual(self.false(), set())

    def test_bytes_and_connections_of_http_by_route(self):
        for key in ("received_bytes", "sent_bytes", "connections"):
            self.series[key]["web-other"] = 1
            self.assertIn("HTTP: bytes and connections add up by route", self.false())
            del self.series[key]["web-other"]
        self.ledger.moved["web"]["received"] = 1
        self.assertEqual(self.false(), {"HTTP: bytes and connections add up by route"})

    def test_connection_that_was_not_counted(self):
        self.ledger.opened["sni"] = 1
        self.assertEqual(self.false(), {"clean routes: connections add up"})

    def test_refusal_that_was_not_counted(self):
        for reason in ("no_route", "upstream_refused"):
            self.ledger.refused = {reason: 1}
            self.assertEqual(self.false(), {"refusals are counted by reason"})

    def test_only_targets_that_reset_may_refuse_more_than_was_provoked(self):
        self.shown["rejected"]["upstream_refused"] = 1
        self.ledger.refused = {"upstream_refused": 0}
        self.assertEqual(self.false(), set())
        self.shown["rejected"]["no_route"] = 1
        self.ledger.refused = {"no_route": 0}
        self.assertEqual(self.false(), {"refusals are counted by reason"})

    def test_what_is_left(self):
        self.size = {"otherDescriptors": 11, "pipeEnds": 66, "rssBytes": RSS_BOUND + 1}
        self.assertEqual(
            self.false(live=[{"id": 1}]),
            {
                "no connection is left",
                "descriptors not above the warm-up",
                "no more pipes than are kept",
                "memory as after the warm-up",
            },
        )

    def test_fault_in_the_log(self):
        for line in (
            "Traceback (most recent call last):",
            "Exception ignored in: <x>",
            "a.py:1: ResourceWarning: x",
        ):
            self.assertEqual(self.false(log=f"started\n{line}\n"), {"no fault of ours"})
