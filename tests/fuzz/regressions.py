"""Inputs that fuzzing has found, by target. Each is checked by every run of the suite.

The tests that explain the faults are beside those of the module at fault.
"""

from __future__ import annotations

from typing import Final

REGRESSIONS: Final[dict[str, tuple[bytes, ...]]] = {
    # See tests/settings/test_hostile_texts.py.
    "yaml_reader": (
        b"- &x [2]\n- *x\n- {<<: [",
        b"a: \xf0",
        b"[1e400]",
        b"a: &a " + b"[" * 40 + b"]" * 40 + b"\nb: " + b"[" * 40 + b"*a" + b"]" * 40,
    ),
    "json_reader": (
        b'{"a": -1e999}',
        b'{"a":' * 500 + b"1" + b"}" * 500,
    ),
    "toml_reader": (b"a" + b".a" * 5_000 + b" = 1",),
    "settings": (
        b"\x00<<a: ",
        b"\x00a: \xf0",
        b'\x01{"a\\n": 1, "a\\n": 2}',
        b'\x01{"\\ud800": 1}',
        b'\x01{"routes": ' + b"[" * 500 + b"]" * 500 + b"}",
        b"\x02a" + b".a" * 5_000 + b" = 1",
    ),
}
