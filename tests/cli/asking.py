"""What the tests of ``smartproxy explain`` share: a configuration of the test, and the lines that are printed."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli.explain import explain
from tests.settings.formats import folder


class ExplainCase(SynchronousTestCase):
    """Asks about configurations that the test gives."""

    def ask(self, configuration: str, *arguments: str) -> list[str]:
        file = Path(folder(self)) / "smartproxy.yaml"
        file.write_text(configuration, encoding="utf-8")
        result = CliRunner().invoke(explain, [str(file), *arguments])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.stdout.splitlines()
