"""Names of targets: unique in their group, also beside targets that are called by their address."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from smartproxy.errors import ConfigurationError
from smartproxy.settings import Settings
from tests.settings.formats import folder

NAMED = '{name: "h:1", host: other, port: 2}'
ROUTE = "routes: [{name: pg, match: {ports: 5432}, action: {group: db}}]"


class NamesOfTargetsTests(SynchronousTestCase):
    def problems(self, targets: str, more: str = "") -> str:
        file = folder(self) / "proxy.yaml"
        (file.parent / "more.yaml").write_text(f"[{NAMED}]")
        file.write_text(f"targetGroups: {{db: {{targets: [{targets}]{more}}}}}\n{ROUTE}\n")
        try:
            Settings.load(file)
        except ConfigurationError as error:
            return str(error)
        return ""

    def test_name_is_not_the_address_of_a_target_without_one(self) -> None:
        """What was set by hand of the one acted on the other, which was called ``h:1``."""
        why = 'name: is that of another target, which is called so because it has none (got "h:1")'
        for place, targets in (
            (1, f"{{host: h, port: 1}}, {NAMED}"),
            (0, f"{NAMED}, {{host: h, port: 1}}"),
            (1, f"{{host: [g, h], port: 1}}, {NAMED}"),
        ):
            self.assertIn(f"targetGroups.db.targets[{place}].{why}", self.problems(targets))

    def test_name_in_a_targets_file_is_not_the_address_of_a_target_of_the_group(self) -> None:
        found = self.problems("{host: h, port: 1}", ", targetsFile: more.yaml")
        self.assertIn('targets[0].name: is the name of an earlier target (got "h:1")', found)

    def test_address_of_a_target_with_a_name_is_free(self) -> None:
        for other in (
            "{name: two, host: h, port: 1}",
            "{host: h, port: 1, addresses: all}",
            "{host: h, port: 3}",
        ):
            self.assertEqual(self.problems(f"{NAMED}, {other}"), "")
