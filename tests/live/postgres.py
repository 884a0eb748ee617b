"""PostgreSQL as a peer: a cluster created once, its server, ``psql``, and a client that counts its bytes."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import struct
import tempfile
from functools import cache
from pathlib import Path
from unittest import SkipTest

from smartproxy.wire import postgres
from tests.live.backends import read_to_end
from tests.live.programs import run
from tests.live.waiting import until

#: Debian installs each major version to its own directory, and only the client programs in PATH.
_PLACES = Path("/usr/lib/postgresql")
_USER = "postgres"
#: Settings for one client at a time, on a shared machine.
_SMALL = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "autovacuum": "off",
    "max_connections": 10,
    "max_wal_senders": 0,
    "wal_level": "minimal",
    "shared_buffers": "1MB",
    "lc_messages": "C",
}


def program(name):
    """Path of one of PostgreSQL's programs, of the newest version.

    :raises SkipTest: if it is not installed.
    """
    places = sorted(_PLACES.glob("*/bin"), key=lambda place: float(place.parent.name), reverse=True)
    path = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ.get("PATH", "")]))
    if path is None:
        raise SkipTest(f"{name} of PostgreSQL is not installed")
    return path


def _user_options():
    """Process options: the server refuses to run as root, and its package creates a user for it.

    :raises SkipTest: if this process runs as root and that user does not exist.
    """
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam(_USER)
    except KeyError:
        raise SkipTest(f"PostgreSQL does not run as root, and there is no user {_USER}") from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


class Cluster:
    """A directory with databases. Connections from this machine are trusted without a password."""

    def __init__(self):
        postgres, initdb = program("postgres"), program("initdb")
        self._postgres, self._options = postgres, {**_user_options(), "cwd": "/"}
        made = tempfile.TemporaryDirectory(prefix="smartproxy-")
        atexit.register(made.cleanup)
        self.directory = Path(made.name)
        self._own(self.directory)
        self.data = self.directory / "data"
        done = run(
            initdb, "-D", self.data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync",
            "--wal-segsize=1", **self._options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _own(self, path):
        if self._options.get("user") is not None:
            os.chown(path, self._options["user"], self._options["group"])

    def start(self, case, *, certificate=None):
        """Start a server that runs until ``case`` ends, with TLS if there is a certificate, and return its port."""
        port, said = case.port(), dict(_SMALL)
        if certificate is not None:
            file = self.directory / "server.pem"
            shutil.copy(certificate, file)
            file.chmod(0o600)
            self._own(file)
            said |= {"ssl": "on", "ssl_cert_file": file, "ssl_key_file": file}
        settings = [part for name, value in said.items() for part in ("-c", f"{name}={value}")]
        server = case.program(self._postgres, "-D", self.data, "-p", port, *settings, **self._options)
        case.addCleanup(server.signal, signal.SIGINT)  # "fast": it does not wait for its clients
        until(lambda: _is_ready(server), "PostgreSQL being ready")
        return port


@cache
def cluster():
    """The cluster of this process, used by one server at a time. Cached, since creating it takes half a second.

    :raises SkipTest: if it cannot be created.
    """
    return Cluster()


def _is_ready(server):
    assert server.ended is None, f"PostgreSQL ended with {server.ended}:\n{server.printed}"
    return "ready to accept connections" in server.printed


def psql(query, **said):
    """Run ``psql`` with these connection parameters over loopback, without this process' environment."""
    where = {"hostaddr": "127.0.0.1", "user": _USER, "dbname": _USER, "connect_timeout": 5, **said}
    words = " ".join(f"{name}={value}" for name, value in where.items())
    return run(program("psql"), "-XAtw", "-c", query, words, env={"PATH": os.defpath, "HOME": "/nonexistent"})


class CountedClient:
    """A client with just enough of protocol 3.0 (PostgreSQL documentation, 55.7) to count its bytes.

    :ivar sock: the connection.
    :ivar said: number of plaintext bytes sent.
    :ivar heard: number of plaintext bytes received.
    """

    def __init__(self, sock):
        self.sock = sock
        self.said = self.heard = 0

    def start_tls(self, context, name):
        """Send an SSLRequest and perform the handshake. Neither is counted."""
        self.sock.sendall(postgres.build(postgres.EncryptionRequest.SSL))
        answer = self.sock.recv(2)
        assert answer == postgres.build_answer(postgres.EncryptionAnswer.WILLING), answer
        self.sock = context.wrap_socket(self.sock, server_hostname=name)

    def start(self):
        """Send the startup message."""
        words = b"".join(word + b"\0" for word in (b"user", _USER.encode(), b"database", _USER.encode(), b""))
        self._say(struct.pack(">ii", 8 + len(words), 3 << 16) + words)
        self._ready()

    def query(self, words):
        """Send a query and receive the whole response."""
        text = words.encode() + b"\0"
        self._say(b"Q" + struct.pack(">i", 4 + len(text)) + text)
        self._ready()

    def end(self, *, in_order):
        """Send Terminate, read to the server's end, and close.

        :param in_order: send a close_notify first. A server that has already closed would answer it with a RST.
        """
        self._say(b"X" + struct.pack(">i", 4))
        self.heard += len(read_to_end(self.sock))
        if in_order:
            self.sock = self.sock.unwrap()
        self.sock.close()

    def _say(self, data):
        self.said += len(data)
        self.sock.sendall(data)

    def _ready(self):
        """Receive all messages up to ReadyForQuery."""
        kind = b""
        while kind != b"Z":
            kind, (size,) = self._exactly(1), struct.unpack(">i", self._exactly(4))
            body = self._exactly(size - 4)
            assert kind != b"E", body

    def _exactly(self, count):
        data = read_to_end(self.sock, count)
        assert len(data) == count, data
        self.heard += count
        return data
