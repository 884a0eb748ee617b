"""Health checks that could never pass, or never fail, are refused, whichever table has the keys."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.model.plan.check import CheckKind
from smartproxy.settings import Settings
from tests.settings.formats import problems

ROUTE = "routes: [{name: pg, match: {ports: 5432}, action: {group: db}}]\n"


def written(shared: str, own: str = "") -> str:
    """A group with the check ``shared``, and one target whose check is ``own``."""
    more = f", healthCheck: {own}" if own else ""
    return f"targetGroups: {{db: {{targets: [{{host: h, port: 1{more}}}], healthCheck: {shared}}}}}\n{ROUTE}"


class ChecksInVainTests(SynchronousTestCase):
    def test_check_of_type_tls_without_tls_is_refused(self) -> None:
        """It connected only, and reported a TLS handshake."""
        why = 'healthCheck.tls: must be true or a mapping for type "tls" (got false)'
        self.assertIn(f"targetGroups.db.{why}", problems(written("{type: tls, tls: false}")))
        self.assertIn(f"targetGroups.db.targets[0].{why}", problems(written("{type: tls}", "{tls: false}")))

    def test_target_checked_by_tls_ignores_tls_false_of_another_type(self) -> None:
        """``false`` was meant for the requests of the group's type."""
        text = written("{type: http, tls: false}", "{type: tls}")
        check = Settings.parse(text, "yaml").compile().groups[0].targets[0].check
        self.assertEqual((check.kind, check.tls.verify), (CheckKind.TLS, False))

    def test_empty_list_of_expected_statuses_is_refused(self) -> None:
        """No answer would pass."""
        found = problems(written("{type: http, expectStatus: []}"))
        self.assertIn("targetGroups.db.healthCheck.expectStatus: must not be empty", found)

    def test_head_with_the_expected_body_of_the_group_is_refused(self) -> None:
        """Its answers have no body, so that this target would be down."""
        shared, why = (
            "{type: http, expectBody: ok}",
            'is HEAD, whose answers have no body for expectBody (got "ok")',
        )
        found = problems(written(shared, "{method: HEAD}"))
        self.assertIn(f"targetGroups.db.targets[0].healthCheck.method: {why}", found)
        self.assertEqual(len(found.splitlines()), 1)
        self.assertEqual(problems(written(shared, "{rise: 1}")), "")

    def test_steps_that_a_target_empties_are_required(self) -> None:
        """A script without steps passes as soon as it is connected."""
        shared = "{type: script, steps: {expect: OK}}"
        found = problems(written(shared, "{steps: []}"))
        self.assertIn('targetGroups.db.targets[0].healthCheck.steps: is required for type "script"', found)
        self.assertEqual(problems(written(shared, "{type: script}")), "")
