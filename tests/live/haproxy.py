"""HAProxy as a peer: its configuration, and starting it."""

from __future__ import annotations

import csv
import socket

from tests.live.backends import read_to_end
from tests.live.programs import needed

_FRAME = """\
global
    maxconn 100
    stats socket {socket}
defaults
    timeout connect 5s
    timeout client 20s
    timeout server 20s
{sections}
"""


def haproxy(case, port, sections):
    """Start HAProxy with these sections and wait until it listens on ``port``.

    :raises SkipTest: if it is not installed.
    """
    program = needed("haproxy")
    file = case.file(
        f"haproxy-{port}.cfg", _FRAME.format(sections=sections, socket=_statistics_socket(case, port))
    )
    running = case.program(program, "-db", "-f", file)
    running.listens(port)
    return running


def queued(case, port):
    """How many clients wait in the queue of the HAProxy that listens on ``port``."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(30)
        asking.connect(str(_statistics_socket(case, port)))
        asking.sendall(b"show stat\n")
        lines = read_to_end(asking).decode().lstrip("# ").splitlines()
    return sum(int(row["qcur"] or 0) for row in csv.DictReader(lines) if row["svname"] == "BACKEND")


def _statistics_socket(case, port):
    return case.directory / f"haproxy-{port}.sock"
