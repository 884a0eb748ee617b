"""The JSON Schema accepts what the tables accept, and the configuration reference is rendered from it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

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

TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
}  # fmt: skip


def faults(schema: dict[str, Any], value: Any, root: dict[str, Any], path: str = "") -> Iterator[str]:
    """What is wrong with ``value``, by the part of JSON Schema 2020-12 that our schema uses."""
    if "$ref" in schema:
        yield from faults(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root, path)
    for choice, allowed in (("anyOf", {1, 2, 3}), ("oneOf", {1})):
        fits = sum(not list(faults(inner, value, root)) for inner in schema.get(choice, ()))
        if choice in schema and fits not in allowed:
            yield f"{path}: {fits} of {choice}"
    wanted = TYPES.get(schema.get("type", ""))
    if wanted and (
        not isinstance(value, wanted) or (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        yield f"{path}: no {schema['type']}"
        return
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{path}: none of the values"
    yield from _limits(schema, value, path)
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from faults(schema.get("items", {}), item, root, f"{path}[{index}]")
    if isinstance(value, dict):
        yield from _keys(schema, value, root, path)


def _limits(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if isinstance(value, int | float):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield f"{path}: out of bounds"
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or not re.search(schema.get("pattern", ""), value):
            yield f"{path}: no such text"
    elif isinstance(value, list) and len(value) < schema.get("minItems", 0):
        yield f"{path}: too few"


def _keys(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any], path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{path}.{key}: required" for key in schema.get("required", ()) if key not in value)
    for key, inner in value.items():
        if any(re.search(pattern, key) for pattern in schema.get("patternProperties", {})):
            continue
        more = schema.get("additionalProperties", True)
        if key not in known and more is False:
            yield f"{path}.{key}: unknown"
        else:
            yield from faults(
                known.get(key, more if isinstance(more, dict) else {}), inner, root, f"{path}.{key}"
            )


class SchemaTests(SynchronousTestCase):
    schema = Settings.json_schema()

    def faults(self, value: Any) -> list[str]:
        return list(faults(self.schema, value, self.schema))

    def test_full_example_is_valid_for_schema_and_tables(self) -> None:
        value = yaml.safe_load(EXAMPLE.replace("acceleration: off", "acceleration: 'off'"))
        self.assertEqual(self.faults(value), [])
        self.assertEqual(Settings.parse(EXAMPLE, "yaml").summary(), "ok (1 routes, ports 443, 8000-8010)")

    def test_schema_refuses_what_the_tables_refuse(self) -> None:
        for value, fault in [
            ({}, ": 0 of anyOf"),
            ({"routes": [route()], "maxConections": 1}, ".maxConections: unknown"),
            ({"routes": [route(ports=70000)]}, ".routes[0].match.ports: 0 of oneOf"),
            ({"routes": [route()], "inactivityTimeout": "4 h"}, ".inactivityTimeout: 0 of anyOf"),
            ({"routes": [route()], "inactivityTimeout": ""}, ".inactivityTimeout: 0 of anyOf"),
            ({"routes": [route()], "maxPendingDataSize": "1MB"}, ".maxPendingDataSize: 0 of anyOf"),
            ({"routes": [route()], "sendProxyProtocol": 3}, ".sendProxyProtocol: 0 of oneOf"),
            ({"routes": [route()], "defaults": None}, ".defaults: no object"),
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

    def test_every_key_is_described(self) -> None:
        tables = {"": self.schema, **self.schema["$defs"]}
        silent = [
            f"{name}.{key}"
            for name, table in tables.items()
            for key, shown in table["properties"].items()
            if "description" not in shown and "$ref" not in shown
        ]
        self.assertEqual(silent, [])
        self.assertEqual([name for name, table in tables.items() if not table["description"]], [])

    def test_every_default_is_valid(self) -> None:
        tables = {"": self.schema, **self.schema["$defs"]}
        for name, table in tables.items():
            for key, shown in table["properties"].items():
                if "default" in shown:
                    self.assertEqual(list(faults(shown, shown["default"], self.schema)), [], f"{name}.{key}")

    def test_unavailable_values_are_marked(self) -> None:
        action = self.schema["$defs"]["Action"]["properties"]
        self.assertEqual(
            action["type"]["x-available"], ["forward", "redirect", "respond", "block", "handler"]
        )
        self.assertEqual(self.schema["properties"]["acme"]["x-available"], [])

    def test_inherited_keys_of_a_route_are_marked(self) -> None:
        properties = self.schema["$defs"]["Route"]["properties"]
        self.assertEqual(properties["inactivityTimeout"]["x-default"], "inherited")
        self.assertNotIn("default", properties["inactivityTimeout"])
        self.assertEqual(self.schema["properties"]["inactivityTimeout"]["default"], "4h")


class ReferenceTests(SynchronousTestCase):
    def test_page_equals_rendered_schema(self) -> None:
        rendered = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["rendered"](
            Settings.json_schema()
        )
        page = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        self.assertEqual(page, rendered, "run: python docs/make_configuration.py")

    def test_examples_of_the_page_are_valid(self) -> None:
        page = (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")
        blocks = re.findall(r"\.\. code-block:: (yaml|toml)\n\n((?:    .*\n|\n)+)", page)
        self.assertEqual([spelling for spelling, _ in blocks], ["yaml", "toml", "yaml", "yaml"])
        for spelling, block in blocks:
            text = "\n".join(line.removeprefix("    ") for line in block.split("\n"))
            self.assertEqual(Settings.parse(text, spelling).check(), [])
