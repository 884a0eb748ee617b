"""The JSON Schema accepts what the tables accept, and the configuration reference is rendered from it."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from smartproxy import __version__
from smartproxy.settings import Settings
from smartproxy.settings.tables import units
from tests.settings.formats import route

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

EXAMPLE = """
proxyIPs: [10.0.0.0/8, "192.0.2.1-192.0.2.9"]
sendProxyProtocol: {version: 2, tlvs: [authority, alpn, ssl, uniqueId, crc32c, passThrough]}
zombieDetection: {interval: 10s, halfGraceTls: 5m, halfGracePlain: 30s, stuckTls: 5m, stuckPlain: 60s}
cleanup: {batchSize: 100, delay: 100ms}
metrics: {sampleInterval: 1s, retention: 1h}
admin: {address: 127.0.0.1, port: 8404, token: secret}
accessLog: {path: "-", format: text}
acceleration: off
maxPendingDataSize: 10MiB
routes:
- name: web
  enabled: true
  priority: 0
  match:
    ports: [443, "8000-8010"]
    address: ""
    domains: [example.com, "*.example.com"]
    clientIp: [10.0.0.0/8]
    path: /api/*
    methods: [GET]
    headers: {X-Env: staging}
    query: {debug: "1", all: "*"}
    protocol: http
  action:
    type: forward
    targets:
      - {host: 127.0.0.1, port: 9000, weight: 1}
      - {host: [a.internal, b.internal], port: preserve, sendProxyProtocol: 1}
    tls: {mode: passthrough}
    protocol: auto
    sendProxyProtocol: false
  security:
    ipAllowList: []
    ipBlockList: []
    maxConnections: 0
  keepAliveTreatment: extended
  stuckDetection: true
"""


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What is wrong with ``value``: the place, and the keyword of JSON Schema that it violates."""
    found = Draft202012Validator(schema).iter_errors(value)
    return sorted(f"{fault.json_path[1:]}: {fault.validator}" for fault in found)


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Each key of each table as ``Table.key``, the schema of its value, and whether it is required."""
    for name, table in {"": schema, **schema["$defs"]}.items():
        for key, shown in table["properties"].items():
            yield f"{name}.{key}", shown, key in table.get("required", ())


class SchemaTests(SynchronousTestCase):
    schema = Settings.json_schema()

    def faults(self, value: Any) -> list[str]:
        return faults(self.schema, value)

    def test_it_is_a_valid_schema_with_an_identifier(self) -> None:
        Draft202012Validator.check_schema(self.schema)
        self.assertEqual(self.schema["$id"], f"urn:smartproxy:configuration:{__version__}")

    def test_full_example_is_valid_for_schema_and_tables(self) -> None:
        value = yaml.safe_load(EXAMPLE.replace("acceleration: off", "acceleration: 'off'"))
        self.assertEqual(self.faults(value), [])
        self.assertEqual(Settings.parse(EXAMPLE, "yaml").summary(), "ok (1 routes, ports 443, 8000-8010)")

    def test_schema_refuses_what_the_tables_refuse(self) -> None:
        for value, fault in [
            ({}, ": anyOf"),
            ({"routes": [route()], "maxConections": 1}, ": additionalProperties"),
            ({"routes": [route(ports=70000)]}, ".routes[0].match.ports: oneOf"),
            ({"routes": [route()], "inactivityTimeout": "4 h"}, ".inactivityTimeout: anyOf"),
            ({"routes": [route()], "inactivityTimeout": ""}, ".inactivityTimeout: anyOf"),
            ({"routes": [route()], "maxPendingDataSize": "1MB"}, ".maxPendingDataSize: anyOf"),
            ({"routes": [route()], "sendProxyProtocol": 3}, ".sendProxyProtocol: oneOf"),
            ({"routes": [route()], "defaults": None}, ".defaults: type"),
        ]:
            self.assertEqual(self.faults(value), [fault])

    def test_patterns_match_exactly_what_parsers_accept(self) -> None:
        for pattern, parse, texts in [
            (units.DURATION_PATTERN, units.seconds, ["1h30m", "100ms", "5s", "", "5", "s", "1.5d", "5m1h"]),
            (units.SIZE_PATTERN, units.octets, ["1KiB", "1.5 MiB", "", "5", "1MB", "7B"]),
            (units.PORTS_PATTERN, units.ports, ["80", "80-90", "", "80-", "a"]),
        ]:
            for text in texts:
                try:
                    parse(text)
                except ValueError:
                    self.assertIsNone(re.search(pattern, text), text)
                else:
                    self.assertIsNotNone(re.search(pattern, text), text)

    def test_every_key_has_a_description_and_a_default(self) -> None:
        """An editor shows both; ``x-default`` says in words what applies where no value does."""
        self.assertEqual([name for name, shown, _ in keys(self.schema) if not shown.get("description")], [])
        silent = [
            name
            for name, shown, required in keys(self.schema)
            if not required and "default" not in shown and not shown.get("x-default")
        ]
        self.assertEqual(silent, [])
        self.assertEqual([name for name, table in self.tables() if not table["description"]], [])

    def tables(self) -> list[tuple[str, dict[str, Any]]]:
        return [("", self.schema), *self.schema["$defs"].items()]

    def test_every_default_is_valid(self) -> None:
        for name, shown, _ in keys(self.schema):
            if "default" in shown:
                here = {**shown, "$defs": self.schema["$defs"]}
                self.assertEqual(faults(here, shown["default"]), [], name)

    def test_inherited_keys_of_a_route_are_marked(self) -> None:
        properties = self.schema["$defs"]["Route"]["properties"]
        self.assertEqual(properties["inactivityTimeout"]["x-default"], "inherited")
        self.assertEqual(properties["inactivityTimeout"]["default"], "4h")
        self.assertEqual(properties["security"]["default"], {})
        self.assertEqual(self.schema["properties"]["inactivityTimeout"]["default"], "4h")


class ImportTests(SynchronousTestCase):
    def test_no_source_is_read_before_a_schema_is_made(self) -> None:
        """Reading and tokenizing all tables for their docstrings would be a tenth of the time that a start takes."""
        asked = "import linecache, smartproxy.settings; print([name for name in linecache.cache if 'tables' in name])"
        shown = subprocess.run(
            [sys.executable, "-c", asked], cwd=ROOT, check=True, capture_output=True, text=True
        )
        self.assertEqual(shown.stdout, "[]\n")


class ReferenceTests(SynchronousTestCase):
    def test_page_equals_rendered_schema(self) -> None:
        rendered = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["rendered"](
            Settings.json_schema()
        )
        page = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        self.assertEqual(page, rendered, "run: python docs/make_configuration.py")

    def test_names_of_keys_are_between_two_backticks(self) -> None:
        """The page doubles those of the docstrings: doubled ones would be shown as characters."""
        page = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        self.assertEqual([line for line in page.splitlines() if "```" in line], [])

    def test_examples_of_the_page_are_valid(self) -> None:
        page = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        blocks = re.findall(r"\.\. code-block:: (yaml|toml)\n\n((?:    .*\n|\n)+)", page)
        self.assertEqual([spelling for spelling, _ in blocks], ["yaml", "toml", "yaml", "yaml"])
        for spelling, block in blocks:
            text = "\n".join(line.removeprefix("    ") for line in block.split("\n"))
            self.assertEqual(Settings.parse(text, spelling).check(), [])
