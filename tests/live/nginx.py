"""nginx as a peer: its configuration, and starting it."""

from __future__ import annotations

from tests.live.programs import needed

_FRAME = """\
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    server {{
        {server}
    }}
}}
"""


def nginx(case, port, *directives):
    """Start nginx with one server of these directives and wait until it listens on ``port``.

    :raises SkipTest: if it is not installed.
    """
    program = needed("nginx")
    server = "\n        ".join(each if each.endswith("}") else f"{each};" for each in directives)
    file = case.file("nginx.conf", _FRAME.format(directory=case.directory, server=server))
    running = case.program(program, "-c", file, "-p", case.directory)
    running.listens(port)
    return running
