"""The body of ``PUT /api/v1/routes`` is read as strictly as a file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.admin.doubles import FakeControl, Listener


class DuplicateKeyTests(SynchronousTestCase):
    def test_key_that_is_there_twice_is_refused(self):
        """Of two lists of clients the first was dropped without a word."""
        for body, key in (
            (b'[{"name": "a", "security": {"ipBlockList": [1], "ipBlockList": []}}]', "ipBlockList"),
            (b'{"routes": [], "routes": [{"name": "a"}]}', "routes"),
        ):
            control = FakeControl()
            answer = Listener(control).ask("PUT", "/api/v1/routes", body=body)
            self.assertEqual((answer.status, control.changes), (422, []))
            self.assertEqual(answer.json()["problems"], [f'duplicate key "{key}"'])
