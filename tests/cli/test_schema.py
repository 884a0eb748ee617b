"""``smartproxy schema`` prints the JSON Schema of the settings."""

from __future__ import annotations

import json

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from smartproxy.cli import main
from smartproxy.settings import Settings


class SchemaCommandTests(SynchronousTestCase):
    def test_schema_prints_the_schema_of_the_settings(self) -> None:
        result = CliRunner().invoke(main, ["schema"])
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(json.loads(result.stdout), Settings.json_schema())
        self.assertEqual(json.loads(result.stdout)["$schema"], "https://json-schema.org/draft/2020-12/schema")
