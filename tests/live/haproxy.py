"""HAProxy as a peer: its configuration, and starting it."""

from __future__ import annotations

from tests.live.programs import needed

_FRAME = """\
global
    maxconn 100
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
    file = case.file("haproxy.cfg", _FRAME.format(sections=sections))
    running = case.program(program, "-db", "-f", file)
    running.listens(port)
    return running
