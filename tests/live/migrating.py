"""The configurations of ``docs/migrating`` on the ports of a test: the original's, and ours, before the same backends."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import ExitStack, closing
from pathlib import Path

from smartproxy.settings.reading.files import parse_text
from smartproxy.wire import proxy_detect
from smartproxy.wire.verdict import Done, NeedMore
from tests.live.backends import over_tls
from tests.live.case import LiveCase
from tests.live.certificates import Authority

_PAGES = Path(__file__).resolve().parents[2] / "docs"
_SECTION = re.compile(r"^(.+)\n-{3,}\n", re.MULTILINE)
_BLOCK = re.compile(r"^\.\. code-block:: (\S+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)


def blocks(page, title):
    """The configurations in a section of a page."""
    parts = _SECTION.split((_PAGES / f"{page}.rst").read_text(encoding="utf-8"))
    section = dict(zip(parts[1::2], parts[2::2], strict=True))[title]
    return [re.sub("^    ", "", body, flags=re.MULTILINE) for _, body in _BLOCK.findall(section)]


def pair(page, title):
    """The two configurations of a section of a migration page: the original, and ours."""
    original, ours = blocks(f"migrating/{page}", title)
    return original, ours


def replaced(text, changes):
    """``text`` with each key of ``changes`` replaced by its value.

    :raises AssertionError: where a key is not in the text, so that a test follows a page that changes.
    """
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in\n{text}"
        text = text.replace(old, str(new))
    return text


def settings(text, changes):
    """Our configuration with ``changes``, as a mapping."""
    return parse_text(replaced(text, changes), "yaml", "page")[0]


def folder(case, name):
    """A directory of the test."""
    path = case.directory / name
    path.mkdir()
    return path


# -- backends ------------------------------------------------------------------------------------------


def naming(name, greeting=b""):
    """Greet, then answer each piece with ``name:`` before it."""

    def serve(_backend, sock):
        sock.sendall(greeting)
        while data := sock.recv(65536):
            sock.sendall(f"{name}:".encode() + data)

    return serve


def announced_to(serve):
    """``serve`` behind a PROXY header, which is kept. No byte behind the header is read."""

    def behind(backend, sock):
        backend.seen.append(_taken_header(sock))
        serve(backend, sock)

    return behind


def _taken_header(sock):
    while True:
        verdict = proxy_detect.parse(sock.recv(4096, socket.MSG_PEEK))
        if isinstance(verdict, Done):
            sock.recv(verdict.consumed, socket.MSG_WAITALL)
            return verdict.value
        assert isinstance(verdict, NeedMore), verdict


# -- what is compared ----------------------------------------------------------------------------------

#: What a client sees that gets no answer: a FIN, a RST, or an alert.
REFUSED = "refused"


class MigrationCase(LiveCase):
    """A test that has the same clients do the same at the original and at ours, and compares what they see."""

    def setUp(self):
        super().setUp()
        self.authority = Authority(self.directory)
        self.backends = []

    def named(self, name, *, header=False, tls=None, greeting=b""):
        """A backend that answers with its name, behind a PROXY header or TLS where they are expected."""
        serve = naming(name, greeting)
        if tls is not None:
            serve = over_tls(self.authority.server(tls), serve)
        backend = self.backend(announced_to(serve) if header else serve)
        self.backends.append(backend)
        return backend

    def open_at_targets(self):
        """How many connections the backends have."""
        return sum(backend.open for backend in self.backends)

    def ours(self, text, ports, targets, changes=()):
        """Our configuration with the ports and targets of this test, running."""
        written = {f"ports: {old}": f"ports: {new}" for old, new in ports.items()}
        for (host, port), backend in targets.items():
            written[f"host: {host}, port: {port}"] = f"host: 127.0.0.1, port: {backend.port}"
        configured = settings(text, {**written, **dict(changes)})
        for key in ("admin", "gracefulShutdownTimeout"):  # a test has its own
            configured.pop(key, None)
        return self.proxy(**configured)

    def same(self, theirs, ours, actions):
        """Each action gives the same at both ports, and what it is expected to be."""
        for name, (act, expected) in actions.items():
            with self.subTest(name):
                self.assertEqual((act(theirs), act(ours)), (expected, expected))

    # -- clients -------------------------------------------------------------------------------------

    def over_plain(self, data, source=None, header=b"", answer=None):
        """A client that sends ``data``, behind a PROXY header where it is given; what it gets."""

        def act(port):
            with closing(self.connect(port, source=source)) as sock:
                return _or_refused(lambda: self._asked(sock, header + data, answer))

        return act

    def _asked(self, sock, data, answer):
        sock.sendall(data)
        received = sock.recv(65536)
        while received and answer is not None and len(received) < len(answer):
            received += sock.recv(65536)
        while data.startswith(b"GET ") and (more := sock.recv(65536)):
            received += more
        return received or REFUSED

    def at_once(self, count, header=b"", source=None):
        """What each of so many clients gets that are connected at the same time, of a server that speaks first."""

        def act(port):
            with ExitStack() as opened:
                socks = [
                    opened.enter_context(closing(self.connect(port, source=source))) for _ in range(count)
                ]
                return [_or_refused(lambda: self._asked(sock, header, None)) for sock in socks]  # noqa: B023 - called at once

        return act

    def over_tls(self, name, data=b"words", certificate=None, header=b"", source=None):
        """A client that asks for ``name`` within TLS; the name in the certificate that it gets, and the answer.

        :param certificate: a file with a client certificate.
        :param header: a PROXY header before the TLS.
        """

        def act(port):
            context = self.authority.client()
            context.check_hostname = False
            if certificate is not None:
                context.load_cert_chain(certificate)
            with closing(self.connect(port, source=source)) as sock:
                sock.sendall(header)
                return _or_refused(lambda: self._asked_within(sock, context, name, data))

        return act

    def _asked_within(self, sock, context, name, data):
        with context.wrap_socket(sock, server_hostname=name) as secure:
            ((((_, common_name),),),) = (secure.getpeercert()["subject"],)
            secure.sendall(data)
            answer = secure.recv(65536)
            while data.startswith(b"GET ") and (more := secure.recv(65536)):
                answer += more
            # In TLS 1.3 a client learns after its handshake that its certificate was refused (RFC 8446, 4.4.2.4).
            return (common_name, answer) if answer else REFUSED

    def announces(self, act, backend):
        """After ``act``: what the PROXY header said that the backend got, and what the client saw."""

        def both(port):
            saw = act(port)
            header = backend.seen[-1]
            destination = header.destination[1]
            return header.version, header.source[0], "front" if destination == port else destination, saw

        return both


def _or_refused(ask):
    try:
        return ask()
    except (ssl.SSLError, ConnectionError):
        return REFUSED
