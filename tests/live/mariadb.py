"""MariaDB as a peer: a server with a directory of its own."""

from __future__ import annotations

import os
import pwd
from unittest import SkipTest

from tests.live.programs import needed, run
from tests.live.waiting import until

_USER = "mysql"
_SMALL = (
    "--innodb-buffer-pool-size=8M",
    "--innodb-log-file-size=4M",
    "--skip-log-bin",
    "--performance-schema=OFF",
)


class MariaDb:
    """A server that runs until ``case`` ends, on :attr:`port` of 127.0.0.1.

    :raises SkipTest: if it is not installed.
    """

    def __init__(self, case, *options):
        server, install, self._client = needed("mariadbd"), needed("mariadb-install-db"), needed("mariadb")
        directory = case.directory / "mariadb"
        directory.mkdir()
        owner = _account()
        if owner:
            os.chown(directory, *owner)
        user = (f"--user={_USER}",) if owner else ()
        made = run(
            install, "--no-defaults", *user, f"--datadir={directory}/data", "--skip-test-db",
            "--auth-root-authentication-method=normal", within=120,
        )  # fmt: skip
        assert made.returncode == 0, made.stdout + made.stderr
        self.port = case.port()
        self._socket = directory / "socket"
        self._server = case.program(
            server, "--no-defaults", *user, f"--datadir={directory}/data", f"--socket={self._socket}",
            f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={directory}/pid", *_SMALL, *options,
        )  # fmt: skip
        until(self._is_ready, "MariaDB being ready", 60)

    def _is_ready(self):
        assert self._server.ended is None, self._server.printed
        return "ready for connections" in self._server.printed

    def administer(self, statements):
        """Execute ``statements`` as root; what they print."""
        return self._run(f"--socket={self._socket}", "-u", "root", "-e", statements)

    def query(self, port, statements, user):
        """Execute ``statements`` as ``user`` over TCP to ``port``; what they print, errors included."""
        return self._run("-h", "127.0.0.1", "-P", port, "-u", user, "--skip-ssl", "-e", statements)

    def _run(self, *arguments):
        done = run(self._client, "--no-defaults", "-N", *arguments)
        return done.stdout + done.stderr


def _account():
    if os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwnam(_USER)
    except KeyError:
        raise SkipTest(f"MariaDB does not run as root, and there is no user {_USER}") from None
    return account.pw_uid, account.pw_gid
