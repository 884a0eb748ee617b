"""What one worker has found out is told to the others."""

from __future__ import annotations

from twisted.internet.defer import fail

from smartproxy.errors import WorkerFailed
from smartproxy.workers import commands
from tests.workers.fake_processes import FakeLink
from tests.workers.test_slots import SlotsCase

_RESULT = {"fingerprint": "ab", "response": b"der", "why": ""}
_FAILED = {"fingerprint": "ab", "response": b"", "why": "no answer"}


class FoundTests(SlotsCase):
    def setUp(self):
        super().setUp()
        self.sent = []
        self.patch(
            FakeLink, "callRemote", lambda link, command, **more: self.sent.append((link, command, more))
        )
        self.first, self.second = self.start()

    def test_the_others_are_told(self):
        checked = {"group": "web", "name": "one", "address": "10.0.0.1:80", "passed": True, "detail": ""}
        self.first.on_checked(**checked)
        self.assertEqual(self.sent, [(self.second, commands.TargetChecked, checked)])
        self.second.on_ocsp_asked(**_FAILED)
        self.assertEqual(self.sent[1:], [(self.first, commands.OcspAsked, _FAILED)])
        self.assertNotIn("staple", self.forking.asked)

    def test_so_is_the_process_that_forks_later_ones_of_a_response(self):
        self.first.on_ocsp_asked(**_RESULT)
        self.assertEqual(self.forking.asked[-1], "staple")

    def test_one_that_has_ended_hinders_nothing(self):
        self.forking.answers.append(fail(WorkerFailed("it has ended")))
        self.second.is_connected = False
        self.first.on_ocsp_asked(**_RESULT)
        self.assertEqual(self.sent, [])
