"""HAProxy as a peer: the frame of a configuration, and starting it."""

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
    """HAProxy with these sections, listening on ``port``.

    :raises SkipTest: where it is not installed.
    """
    program = needed("haproxy")
    file = case.file("haproxy.cfg", _FRAME.format(sections=sections))
    running = case.program(program, "-db", "-f", file)
    running.listens(port)
    return running
