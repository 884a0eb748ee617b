"""Servers to proxy to: blocking sockets and a thread a connection, so that what they do can be read."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from smartproxy.wire import proxy_detect
from smartproxy.wire.verdict import Done, NeedMore

_PATIENCE = 30.0
_CHUNK = 256 * 1024


def reset(sock):
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_to_end(sock, at_most=None):
    """All bytes up to the FIN, or ``at_most`` of them."""
    parts, got = [], 0
    while at_most is None or got < at_most:
        data = sock.recv(_CHUNK if at_most is None else min(_CHUNK, at_most - got))
        if not data:
            break
        parts.append(data)
        got += len(data)
    return b"".join(parts)


def read_header(sock):
    """The PROXY header that a connection begins with (``None`` for none), its bytes, and what came behind.

    :raises ConnectionError: where it ends before that is clear.
    """
    held = b""
    while True:
        verdict = proxy_detect.parse(held)
        if isinstance(verdict, Done):
            return verdict.value, held[: verdict.consumed], held[verdict.consumed :]
        assert isinstance(verdict, NeedMore), verdict
        data = sock.recv(_CHUNK)
        if not data:
            raise ConnectionError(f"ended within the header: {held!r}")
        held += data


class Backend:
    """Listens, and gives each connection to ``serve`` in a thread.

    :ivar seen: for ``serve`` to leave there what it has seen; it is called with the backend and the socket.
    :ivar failures: what ``serve`` has raised, but for broken connections. The test looks at the end.
    :param unix: the path of a unix socket to listen on, in place of ``host``; ``@`` and a name is an abstract one.
    :param port: a backend may be stopped and another one started on the same port at once.
    """

    def __init__(self, serve, host="127.0.0.1", port=0, backlog=1024, unix=None):
        self.seen = []
        self.failures = []
        self.accepted = 0
        self._serve = serve
        self._open = set()
        self._threads = []
        if unix is not None:
            family, place = socket.AF_UNIX, "\0" + unix[1:] if unix.startswith("@") else unix
        else:
            family, place = socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port)
        self._listening = socket.socket(family)
        if port:
            # The former one needs it as well: its connections inherit it, and those in FIN_WAIT or TIME_WAIT keep
            # the port from every socket unless both have it (socket(7)).
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listening.bind(place)
            self._listening.listen(backlog)
        except OSError:
            self._listening.close()
            raise
        if unix is not None:
            self.target = {"unix": unix}
        else:
            self.port = self._listening.getsockname()[1]
            self.target = {"host": host, "port": self.port}
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return  # closed
            sock.settimeout(_PATIENCE)
            self.accepted += 1
            self._open.add(sock)
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock):
        try:
            self._serve(self, sock)
        except OSError:
            pass  # the other side has gone: what a test does to it on purpose
        except BaseException as failure:  # whatever it is, the test must hear of it
            self.failures.append(failure)
        finally:
            self._open.discard(sock)
            sock.close()

    @property
    def open(self):
        """Number of open connections."""
        return len(self._open)

    def replace(self, sock, other):
        """``other`` owns the descriptor of ``sock`` from now on, and is what :meth:`close` shuts down."""
        self._open.discard(sock)
        self._open.add(other)

    def close(self):
        """End everything that it has open."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(_PATIENCE)
        self._listening.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                # The plain one also for TLS: that of an SSLSocket takes its state from the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)


# -- what they do --------------------------------------------------------------------------------------


def echo(_backend, sock):
    """Send back what comes, and end when the client does."""
    while data := sock.recv(_CHUNK):
        sock.sendall(data)


def collect(backend, sock):
    """Read to the end, keep it, and say how much it was."""
    got = read_to_end(sock)
    backend.seen.append(got)
    sock.sendall(b"%d" % len(got))


def announced(backend, sock):
    """Keep the PROXY header, as value and as bytes, and echo the rest."""
    header, raw, rest = read_header(sock)
    backend.seen.append((header, raw))
    sock.sendall(rest)
    echo(backend, sock)


def banner(_backend, sock):
    """Speak first, then echo."""
    sock.sendall(b"SSH-2.0-live\r\n")
    echo(_backend, sock)


def silent(_backend, sock):
    """Say nothing, and read to the end."""
    read_to_end(sock)


def page(text):
    """Answer one HTTP request with ``text``."""
    body = text.encode()
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)

    def serve(backend, sock, held=b""):
        while b"\r\n\r\n" not in held:
            data = sock.recv(_CHUNK)
            if not data:
                return
            held += data
        backend.seen.append(held)
        sock.sendall(response)

    return serve


def over_tls(context, serve):
    """``serve`` behind TLS."""

    def secured(backend, sock):
        with context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False) as wrapped:
            backend.replace(sock, wrapped)  # wrapping has taken the descriptor from ``sock``
            wrapped.settimeout(_PATIENCE)
            try:
                wrapped.do_handshake()
                serve(backend, wrapped)
            finally:
                backend.replace(wrapped, sock)

    return secured


#: Bytes of a connection that may be on the way: kernel buffers of four sockets (tcp_rmem, tcp_wmem) and a pipe.
ON_THE_WAY = 64 * 1024 * 1024


def endless(backend, sock):
    """A gigabyte, as fast as it is taken; how much was is left in ``seen``."""
    backend.seen.append(0)
    while backend.seen[-1] < 1 << 30:
        backend.seen[-1] += sock.send(bytes(_CHUNK))
