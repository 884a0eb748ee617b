"""Runs a command with the system calls that a unit file allows, as systemd would: ``confined.py UNIT COMMAND...``.

``SystemCallFilter``, ``SystemCallErrorNumber=EPERM`` and ``RestrictAddressFamilies`` become one seccomp filter. systemd itself
only sets them for services of its own, which a test cannot start.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # SCMP_ACT_ALLOW, SCMP_ACT_ERRNO (seccomp.h)
EQUAL = 4  # SCMP_CMP_EQ


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``: a condition on an argument of a system call."""

    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def settings(unit):
    """The values of a unit's keys, of each key in their order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def members(name):
    """The system calls of a set such as ``@system-service``, those of the sets in it included."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in listed.splitlines() if line.startswith("    ")]
    return {call for word in words if not word.startswith("#") for call in members(word)}


def allowed(filters):
    """The system calls that several ``SystemCallFilter`` lines leave, the first of which allows."""
    calls = set().union(*map(members, filters[0].split())) | members("@default")
    for refused in filters[1:]:
        assert refused.startswith("~"), refused
        calls -= set().union(*map(members, refused.removeprefix("~").split())) - members("@default")
    return calls


def confine(unit):
    """Apply the filter to this process and to what it becomes."""
    wanted = settings(unit)
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(REFUSE)))

    def allow(name, *conditions):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # negative: not of this architecture
            given = (Comparison * len(conditions))(*conditions)
            added = library.seccomp_rule_add_array(
                context, ctypes.c_uint32(ALLOW), number, len(conditions), given
            )
            assert added == 0, (name, added)

    families = [getattr(socket, name) for name in wanted["RestrictAddressFamilies"][0].split()]
    conditions = {"socket": [[Comparison(0, EQUAL, family)] for family in families]}
    for call in allowed(wanted["SystemCallFilter"]):
        for condition in conditions.get(call, [[]]):
            allow(call, *condition)
    assert library.seccomp_load(context) == 0


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - it has no shell on purpose
