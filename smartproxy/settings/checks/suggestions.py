"""What to write instead of a value of another type: the end of a message, or ``""``.

Rules of single values have their own hints (:mod:`smartproxy.settings.tables.hints`). These are for what pydantic checks: numbers,
booleans, choices, lists and mappings.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from smartproxy.settings.tables.hints import host_hint, quotes_hint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from smartproxy.settings.reading.locations import KeyPath

_BOOLEANS: Final = {
    "yes": "true", "on": "true", "enabled": "true", "true": "true", "1": "true",
    "no": "false", "off": "false", "disabled": "false", "false": "false", "0": "false",
}  # fmt: skip
_GROUPED = re.compile(r"[0-9]{1,3}(?:[_, '][0-9]{3})+")
_PAIR_WITHOUT_BLANK = re.compile(r"([A-Za-z]\w*):(?!//)(\S.*)", re.DOTALL)
_TLS_PREFIX = re.compile(r"^(?:tls|ssl)[ _]?v?(?=[0-9])")
_HOST_AND_PORT = re.compile(r"(?:[a-z+]+://)?(\[[0-9a-fA-F:]+\]|[^:/\s]+):([0-9]{1,5})/?")


def suggestion(detail: ErrorDetails, path: KeyPath) -> str:
    """What to write instead of the input of ``detail``, which is at ``path``."""
    written = detail["input"]
    kind = detail["type"]
    if kind in {"int_type", "float_type", "bool_type"}:
        return _scalar(written, kind)
    if kind == "string_type":
        return quotes_hint(written)
    if kind == "literal_error":
        return _choice(written, detail.get("ctx", {}))
    if kind in {"model_type", "model_attributes_type", "dict_type", "shape"}:
        return _mapping(written, path) or _switch(written, detail["msg"])
    if kind == "list_type" and path[-1:] == ("routes",):
        return 'begin each route with "- name: NAME"'
    return ""


def is_pair_without_blank(written: object) -> bool:
    """Whether ``written`` is a key and its value without the blank that YAML needs after the colon."""
    return isinstance(written, str) and _PAIR_WITHOUT_BLANK.fullmatch(written) is not None


def _scalar(written: object, kind: str) -> str:
    text = str(written).strip().lower() if isinstance(written, str | int) else ""
    if kind == "bool_type":
        return f"write {_BOOLEANS[text]}" if text in _BOOLEANS else ""
    if _GROUPED.fullmatch(text):
        return f"write {re.sub('[^0-9]', '', text)}"
    if isinstance(written, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return f"write {text} without quotes"
    return ""


def _switch(written: object, rule: str) -> str:
    """For a key that may be ``true`` or ``false``, as its ``rule`` says, or something else."""
    if isinstance(written, str) and f", {written}" in rule:  # the version of a PROXY header
        return f"write {written} without quotes"
    return _scalar(written, "bool_type") if "true, false" in rule else ""


def _choice(written: object, context: Mapping[str, object]) -> str:
    expected = str(context.get("expected", ""))
    choices = re.findall(r"'([^']*)'", expected)
    text = str(written).strip()
    if not isinstance(written, str) and text in choices:
        return f'write "{text}", in quotes'
    numbers = re.findall(r"(?<!')\b[0-9]+\b(?!')", re.sub(r"'[^']*'", "", expected))
    if isinstance(written, str) and text in numbers:
        return f"write {text} without quotes"
    found = get_close_matches(_TLS_PREFIX.sub("", text.lower()).replace("_", "-"), choices, n=1, cutoff=0.7)
    return f'did you mean "{found[0]}"?' if found else ""


def _mapping(written: object, path: KeyPath) -> str:
    """For what should be a mapping, in the words of the table that it would be."""
    keys = [key for key in path if isinstance(key, str)]
    is_target = keys[-1:] == ["targets"]
    if not is_target and isinstance(written, str) and (pair := _PAIR_WITHOUT_BLANK.fullmatch(written)):
        return f'no blank after the colon: write "{pair[1]}: {pair[2].split()[0]}"'
    if keys[-1:] == ["headers"] and "match" not in keys:
        return "write {request: {set: {NAME: VALUE}}}, or response in place of request"
    if keys[-1:] == ["tls"] and isinstance(written, bool | str):
        return _tls(written, keys)
    return _table(written, keys[-1] if keys else "")


def _tls(written: bool | str, keys: list[str]) -> str:
    """For TLS of a route, of the whole proxy, or of a target, which may be ``true``."""
    if keys[-2:] == ["action", "tls"]:
        return "write {mode: terminate}, or {mode: passthrough}; tls: true is for a target"
    if keys == ["tls"]:
        return 'TLS is terminated by "tls: {mode: terminate}" in the action of a route'
    return _scalar(written, "bool_type")


def _table(written: object, key: str) -> str:
    if key == "targets" and isinstance(written, str):
        host = _HOST_AND_PORT.fullmatch(written.strip())
        return f"write {{host: {host[1].strip('[]')}, port: {host[2]}}}" if host else host_hint(written)
    return {
        "headers": "write {NAME: VALUE}",
        "match": "write {ports: 443}",
        "action": "write {targets: [{host: 192.0.2.1, port: 80}]}",
        "routes": 'begin each route with "- name: NAME", and indent its keys',
        "certificate": "write {certFile: a.pem, keyFile: a.key}",
        "": 'write keys, beginning with "routes:"',
    }.get(key, "")
