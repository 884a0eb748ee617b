"""Renders ``docs/configuration.rst`` from the schema of the configuration.

The descriptions are the docstrings of the tables in ``smartproxy.settings.tables``. After a change there::

    python docs/make_configuration.py

A test compares the file in the repository with what this renders.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartproxy.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = Path(__file__).with_name("configuration.rst")

INTRODUCTION = """\
.. Made by docs/make_configuration.py from the tables in smartproxy.settings.tables. Change those, then run it.

Configuration
=============

One schema, three formats: YAML (``.yaml``, ``.yml``), JSON and TOML. Keys are camelCase in a file and snake_case in Python
(``proxyIPs`` is ``proxy_ips``). ``smartproxy check FILE`` prints every problem with its file, line and key; ``smartproxy
schema`` prints the JSON Schema for your editor.

.. code-block:: yaml

    proxyIPs: [10.0.0.0/8]
    routes:
      - name: web
        match: {ports: 443, domains: [example.com, "*.example.com"]}
        action:
          targets: [{host: [192.0.2.10, 192.0.2.11], port: 8443}]
          sendProxyProtocol: 2
        security: {ipBlockList: [198.51.100.0/24], maxConnections: 1000}
      - name: ssh
        match: {ports: 2222, clientIp: [192.0.2.0-192.0.2.31]}
        action: {targets: [{host: git.internal, port: 22}]}
        keepAliveTreatment: immortal

The same route in TOML:

.. code-block:: toml

    [[routes]]
    name = "ssh"
    match = {ports = 2222, clientIp = ["192.0.2.0-192.0.2.31"]}
    action = {targets = [{host = "git.internal", port = 22}]}
    keepAliveTreatment = "immortal"

An unknown key is an error, and so is a key that is given twice or has no value. YAML is read as YAML 1.2: only ``true`` and
``false`` are booleans. A list with one item may be written as that item: ``domains: example.com``.

``-`` in place of a file is standard input (``smartproxy check -``, ``twistd smartproxy --config -``), which cannot be reloaded.
``--format yaml|json|toml`` names the format where no suffix does.

Variables, anchors, several files
---------------------------------

.. code-block:: yaml

    x-internal: &internal                       # x-... keys are ignored, at the top level and in a route
      ipAllowList: [10.0.0.0/8]
    maxConnections: ${MAX_CONNECTIONS:-10000}
    routes:
      - name: db
        x-owner: storage
        match: {ports: 5432, address: ["127.0.0.1", "::1"]}
        action: {targets: [{host: "${DB_HOST:-192.0.2.20}", port: 5432}]}
        security:
          <<: *internal
          maxConnections: 50
    include: ["conf.d/*.yaml"]                  # each a list of routes

``${NAME}`` in a value is the environment variable, ``${NAME:-default}`` has a default for one that is not set or empty, and
``$$`` is a dollar sign. The result becomes a number or a boolean where the key wants one. A variable that is not set is an
error. Keys are left as they are, and so is what the admin API is given. In YAML, quote it within ``{ }`` and ``[ ]``.

``include`` names files relative to the one that it is in. Each is a list of routes, or a mapping with ``routes`` and
``include``, which TOML needs. A pattern includes every file that it matches, in the order of their names, and may match none;
hidden files are left out. Included routes follow those of the file itself. Other paths, as of certificates, are relative to
the main file. A reload reads all files again, and is refused if one is missing or includes itself.

Clients without SNI
-------------------

On a port whose routes have ``domains``, ``fallback: true`` makes a route take the TLS clients that ask for no name. The route
may have domains of its own. Without ``fallback``, such a client is taken by a route without ``domains``, for instance one with
``match: {ports: 443, protocol: tls}``, which also takes those that ask for a name of no other route.

.. code-block:: yaml

    routes:
      - name: www
        match: {ports: 443, domains: www.example.com}
        action: {targets: {host: 192.0.2.10, port: 443}}
        fallback: true
      - name: mail
        match: {ports: 443, domains: mail.example.com}
        action: {targets: {host: 192.0.2.11, port: 443}}

Types of values
---------------

duration
    A number of milliseconds, or a string with units, from large to small: ``"100ms"``, ``"30s"``, ``"5m"``, ``"4h"``, ``"7d"``,
    ``"1h30m"``. 0 is no limit.
size
    A number of bytes, or a string with a unit: ``"64KiB"``, ``"10MiB"``, ``"1GiB"``.
port or range
    A number, or a string like ``"8000-8010"``, both ends included.
address, CIDR, range or file
    ``192.0.2.1``, ``192.0.2.0/24``, ``192.0.2.1-192.0.2.9``, and the same for IPv6. ``::ffff:192.0.2.1`` and ``192.0.2.1``
    are the same address. ``file:PATH`` stands for the entries in a file, one a line, with comments after ``#``. The file is
    followed: a change is applied within seconds, without a reload; a file with a line that is no entry leaves the former
    content in force and is logged. An empty file is a list without addresses: as an allow list it refuses every client.
domain
    ``example.com``; ``*.example.com`` for every name below it, but not for itself; ``*`` for any name. An IP address is that in
    the Host of a request, or, where some route of the port that terminates TLS has one, the local address that a TLS client
    without SNI connected to.
status or range
    A number from 100 to 599, or a string like ``"200-299"``, both ends included.
path pattern
    Exact, with ``*`` for anything and ``:name`` for one segment.
inherited
    A key that a route leaves out has the value of ``defaults``, or else that of the top level. Each key is inherited by itself.
"""

#: The top level in groups, each key once.
GROUPS = {
    "Routes": ("routes", "include", "targetGroups", "defaults"),
    "PROXY protocol": ("proxyIPs", "acceptProxyProtocol", "proxyHeaderTimeout", "sendProxyProtocol"),
    "Timeouts": (
        "connectionTimeout",
        "initialDataTimeout",
        "tlsHandshakeTimeout",
        "inactivityTimeout",
        "halfCloseTimeout",
        "maxConnectionLifetime",
        "tcpUserTimeout",
        "timeoutJitter",
        "gracefulShutdownTimeout",
    ),
    "Keep-alive": (
        "keepAlive",
        "keepAliveTreatment",
        "keepAliveInactivityMultiplier",
        "extendedKeepAliveLifetime",
        "keepAliveInitialDelay",
        "keepAliveInterval",
        "keepAliveCount",
    ),
    "Limits": (
        "maxConnections",
        "maxConnectionsPerIP",
        "connectionRateLimitPerMinute",
        "ipv6LimitPrefix",
        "maxPendingDataSize",
    ),
    "Monitoring and cleanup": ("zombieDetection", "cleanup", "metrics", "admin", "accessLog"),
    "The process": ("workers", "acceleration", "tls", "acme"),
}

#: The tables, in the order in which a reader meets them.
TABLES = (
    "Route", "Match", "Action", "ResponseSettings", "Target", "ProxyHeaderSettings", "Security", "Defaults",
    "TargetGroup", "LoadBalancing", "PassiveHealth", "HealthCheck", "CheckStep", "QueueSettings",
    "HttpSettings", "PoolSettings", "WebsocketSettings", "MessageHeaders", "HeaderChanges", "RewriteSettings",
    "ZombieDetection", "CleanupSettings", "MetricsSettings", "AdminSettings", "AccessLogSettings",
    "Tls", "RouteTls", "CertificateSettings", "ClientAuth", "UpstreamTls", "Ciphers",
    "Acme", "ExternalAccountBinding", "AcmeDns", "OnDemand",
)  # fmt: skip

_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def rendered(schema: dict[str, Any]) -> str:
    """The page for ``schema``."""
    return "\n".join(_lines(schema))


def _lines(schema: dict[str, Any]) -> Iterator[str]:
    grouped = [key for keys in GROUPS.values() for key in keys]
    if set(grouped) != set(schema["properties"]) or set(TABLES) != set(schema["$defs"]):
        raise ValueError("GROUPS and TABLES must name every key of the top level and every table, once")
    yield INTRODUCTION
    yield from _heading("Top level", "-")
    for title, keys in GROUPS.items():
        yield from _heading(title, "~")
        yield from _table(schema, schema, keys)
    for name in TABLES:
        table = schema["$defs"][name]
        yield f".. _{_anchor(name)}:"
        yield ""
        yield from _heading(_title(name), "-")
        yield _text(table["description"])
        yield ""
        own = table["properties"]
        yield from _table(
            schema, table, sorted(own, key=lambda key: own[key].get("x-default") == "inherited")
        )


def _table(schema: dict[str, Any], table: dict[str, Any], keys: Iterable[str]) -> Iterator[str]:
    yield ".. list-table::"
    yield "   :header-rows: 1"
    yield "   :widths: 24 22 18 36"
    yield ""
    yield from _row("Key", "Value", "Default", "Meaning")
    for key in keys:
        shown = table["properties"][key]
        default = "required" if key in table.get("required", ()) else _default(shown)
        yield from _row(f"``{key}``", _type_of(shown), default, _meaning(schema, shown))
    yield ""


def _row(first: str, *cells: str) -> Iterator[str]:
    yield f"   * - {first}"
    yield from (f"     - {cell}".rstrip() for cell in cells)


def _meaning(schema: dict[str, Any], shown: dict[str, Any]) -> str:
    text = shown.get("description") or schema["$defs"][_referred(shown)]["description"]
    return _text(text)


def _default(shown: dict[str, Any]) -> str:
    if "x-default" in shown:
        return _text(shown["x-default"])
    return _literal(shown["default"]) if "default" in shown else ""


def _type_of(shown: dict[str, Any]) -> str:
    """The values of a key: a type by its name, choices by their values, tables by a link."""
    if "$ref" in shown:
        name = _referred(shown)
        return f":ref:`{_title(name)} <{_anchor(name)}>`"
    if "title" in shown:
        return str(shown["title"])
    for choice in ("oneOf", "anyOf"):
        if choice in shown:
            one, *others = shown[choice]
            if [other.get("items") for other in others] == [one]:
                return f"{_type_of(one)}, or a list of them"
            return " or ".join(dict.fromkeys(_type_of(inner) for inner in shown[choice]))
    if "enum" in shown or "const" in shown:
        return ", ".join(_literal(value) for value in shown.get("enum", [shown.get("const")]))
    return _plain_type(shown)


def _plain_type(shown: dict[str, Any]) -> str:
    if shown["type"] == "array":
        return f"list of {_type_of(shown['items'])}"
    names = {"object": "mapping", "boolean": "true or false", "integer": "number", "string": "string"}
    return names.get(shown["type"], shown["type"])


def _referred(shown: dict[str, Any]) -> str:
    return str(shown["$ref"]).rpartition("/")[2]


def _literal(value: object) -> str:
    return f"``{value if isinstance(value, str) and value else json.dumps(value)}``"


def _text(markup: str) -> str:
    return " ".join(markup.replace("`", "``").split())


def _title(name: str) -> str:
    return (
        _CAPITALS.sub(" ", name.removesuffix("Settings"))
        .replace("Tls", "TLS")
        .replace("Acme", "ACME")
        .replace("Dns", "DNS")
        .replace("Proxy Header", "PROXY header")
    )


def _anchor(name: str) -> str:
    return f"configuration-{_CAPITALS.sub('-', name.removesuffix('Settings')).lower()}"


def _heading(title: str, underline: str) -> Iterator[str]:
    yield title
    yield underline * len(title)
    yield ""


if __name__ == "__main__":
    PAGE.write_text(rendered(Settings.json_schema()), encoding="utf-8")
