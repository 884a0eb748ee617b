"""TLS terminated by the proxy: bulk, handshakes and idle connections, compared with haproxy with the same certificate.

The certificate has an ECDSA key on P-256. The clients use Python's ssl with Debian's OpenSSL; their cost falls on
another CPU and is in no result. Every connection checks what was negotiated: TLS 1.3 with AES-256-GCM, this
certificate, and whether it was resumed as intended.
"""

from __future__ import annotations

import datetime as dt
import itertools
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks import backends, bulk, contestants
from benchmarks.backends import GREETING
from benchmarks.connections import BACKENDS, CLIENTS
from benchmarks.contestants import Job, Running
from benchmarks.messages import SMALL, plain
from benchmarks.processes import BenchmarkError, allow_descriptors, free_port
from benchmarks.series import Probe, entry_of

T = TypeVar("T")

BULK_UNIT = bulk.UNIT
HANDSHAKE_UNIT = "µs/handshake"
IDLE_UNIT = "KiB/connection"

_NAME = "tls.bench.example"
_BACKEND = "127.0.0.11"
_CIPHER = "TLS_AES_256_GCM_SHA384"  # the first that the client offers, and both proxies let it choose
_STALLS_AFTER = 30.0
_SETTLES_IN = 0.05
_READ_SIZE = 1 << 18
_GB = 1_000_000_000
_AT_ONCE = 32
_OVER = object()
_WARM_UP = 300
_IDLE_WARM_UP_SHARE = 10
_IDLE_SETTLES_IN = 0.2


# -- the certificate, and a client that checks it -------------------------------------------------------


def make_certificate(directory: Path) -> Path:
    """A PEM file with a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_NAME), x509.DNSName("localhost")]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = directory / "tls.pem"
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


class _Client:
    """Connects to one proxy over TLS 1.3, and checks what was negotiated.

    The certificate is compared instead of verified: verification costs a client more than everything else, and clients
    slower than the proxy would measure the cost of waking it up.
    """

    def __init__(self, proxy: Running, certificate: Path) -> None:
        self._address = proxy.address
        self._expected = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._sources = itertools.cycle(CLIENTS)

    def connect(self) -> ssl.SSLSocket:
        """Open a connection and complete its handshake.

        :raises BenchmarkError: if something else was negotiated.
        """
        secured = self.begin(None)
        secured.settimeout(_STALLS_AFTER)
        secured.do_handshake()
        self.check(secured, None)
        return secured

    def begin(self, session: ssl.SSLSession | None) -> ssl.SSLSocket:
        """Open a non-blocking connection whose handshake has not started."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((next(self._sources), 0))
        sock.connect(self._address)
        sock.setblocking(False)
        return self._context.wrap_socket(
            sock, server_hostname=_NAME, session=session, do_handshake_on_connect=False
        )

    def check(self, secured: ssl.SSLSocket, session: ssl.SSLSession | None) -> None:
        """Check version, cipher, certificate and resumption.

        :raises BenchmarkError: if something else was negotiated, or ``session`` was not resumed.
        """
        cipher = secured.cipher()
        if cipher is None or cipher[0] != _CIPHER:
            raise BenchmarkError(f"{cipher} was negotiated, and not {_CIPHER}")
        if secured.session_reused is not (session is not None):
            raise BenchmarkError("resumed" if session is None else "not resumed")
        if secured.getpeercert(binary_form=True) != self._expected:
            raise BenchmarkError("the server sent another certificate")


# -- bulk ------------------------------------------------------------------------------------------------


def bulk_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Each probe moves ``0.125 * scale`` GB from a plain or a TLS backend to a client that decrypts it."""
    certificate = make_certificate(directory)
    port, secured_port = free_port(), free_port()
    backends.start("source", ((_BACKEND, port),), stack, directory)
    backends.start("source", ((_BACKEND, secured_port),), stack, directory, certificate)
    ended = Job((_BACKEND,), port, certificate=certificate)
    again = Job((_BACKEND,), secured_port, certificate=certificate, encrypted_backend=True)
    jobs = {"ours": ended, "haproxy": ended, "ours/re-encrypt": again, "haproxy/re-encrypt": again}
    made: dict[str, Probe] = {}
    for key, proxies in bulk.start_several(jobs, stack, directory).items():
        several = [(proxy, _Client(proxy, certificate)) for proxy in proxies]
        for _, client in several:
            bulk.check_content(key, _request(client, bulk.WARM_UP))
        made[key] = partial(_bulk_cost, itertools.cycle(several), int(0.125 * _GB * scale))
    return made


def _bulk_cost(several: Iterator[tuple[Running, _Client]], size: int) -> float:
    proxy, client = next(several)
    before = proxy.process.cpu_ns
    _discard(_request(client, size), size)
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / size  # ns per byte equal seconds per GB


def _request(client: _Client, size: int) -> ssl.SSLSocket:
    connection = client.connect()
    connection.sendall(struct.pack("!Q", size))
    return connection


def _discard(connection: ssl.SSLSocket, size: int) -> None:
    buffer = bytearray(_READ_SIZE)
    left = size
    with connection:
        while count := connection.recv_into(buffer):
            left -= count
    if left:
        raise BenchmarkError(f"{left} of {size} bytes are missing")


# -- handshakes ------------------------------------------------------------------------------------------


def handshake_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Each probe makes ``300 * scale`` connections, 32 concurrently, with full or resumed handshakes."""
    certificate = make_certificate(directory)
    port = free_port()
    backends.start("answer", tuple((host, port) for host in BACKENDS), stack, directory)
    serials = itertools.count()
    made: dict[str, Probe] = {}
    job = Job(BACKENDS, port, certificate=certificate)
    jobs = {**contestants.in_builds("ours", job), "haproxy": job}
    for key, proxy in zip(jobs, contestants.start_each(jobs.items(), stack, directory), strict=True):
        cost = _Handshakes(proxy, _Client(proxy, certificate), serials)
        cost(_WARM_UP, resumed=False)
        cost(_WARM_UP, resumed=True)
        count = int(300 * scale)
        made[key] = partial(cost, count, resumed=False)
        made[entry_of(key, "resumed")] = partial(cost, count, resumed=True)
    return made


class _Handshakes:
    """Connections to one proxy, 32 concurrently over one epoll; calling it returns microseconds per connection."""

    def __init__(self, proxy: Running, client: _Client, serials: Iterator[int]) -> None:
        self._proxy = proxy
        self._client = client
        self._serials = serials
        self._pending: dict[int, Generator[None, None, None]] = {}

    def __call__(self, count: int, *, resumed: bool) -> float:
        session = self._new_session() if resumed else None
        before = self._proxy.process.cpu_ns
        self._exchange_all(count, session)
        time.sleep(_SETTLES_IN)
        return (self._proxy.process.cpu_ns - before) / count / 1000

    def _new_session(self) -> ssl.SSLSession:
        """A session to resume. Reused, because extracting one costs a client a fifth of the handshake."""
        with self._client.connect() as secured:
            message, _ = plain(next(self._serials))
            secured.sendall(message)
            secured.recv(SMALL)  # the tickets are sent before the answer
            given = secured.session
            secured.unwrap()
        if given is None or not given.has_ticket:
            raise BenchmarkError("no session ticket was received")
        return given

    def _exchange_all(self, count: int, session: ssl.SSLSession | None) -> None:
        with closing(select.epoll()) as epoll:
            for _ in range(count):
                while len(self._pending) >= _AT_ONCE:
                    self._advance(epoll)
                self._begin(epoll, session)
            while self._pending:
                self._advance(epoll)

    def _begin(self, epoll: select.epoll, session: ssl.SSLSession | None) -> None:
        secured = self._client.begin(session)
        epoll.register(secured.fileno(), select.EPOLLIN)
        number = secured.fileno()
        talk = self._exchange(secured, session)
        # If this client was preempted, everything may be ready already, and the exchange ends at once.
        if next(talk, _OVER) is not _OVER:
            self._pending[number] = talk

    def _advance(self, epoll: select.epoll) -> None:
        ready = epoll.poll(_STALLS_AFTER)
        if not ready:
            raise BenchmarkError(f"{len(self._pending)} connections make no progress")
        for number, _ in ready:
            if next(self._pending[number], _OVER) is _OVER:
                del self._pending[number]

    def _exchange(
        self, secured: ssl.SSLSocket, session: ssl.SSLSession | None
    ) -> Generator[None, None, None]:
        """Handshake, 64 bytes in each direction, and a clean end; yields while it waits for the proxy.

        :raises BenchmarkError: if the answer is missing, or belongs to another connection.
        """
        message, answer = plain(next(self._serials))
        with secured:
            yield from _done(secured.do_handshake)
            self._client.check(secured, session)
            secured.send(message)
            received = yield from _done(partial(secured.recv, SMALL))
            if received != answer:
                raise BenchmarkError(f"{answer!r} was expected, {received!r} received")
            yield from _done(secured.unwrap)


def _done(call: Callable[[], T]) -> Generator[None, None, T]:
    """Repeat ``call``, yielding while it needs more data, and return its value."""
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            yield


# -- idle ------------------------------------------------------------------------------------------------


def idle_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Each probe holds ``1,500 * scale`` connections to a proxy started for it."""
    allow_descriptors(16_000)
    certificate = make_certificate(directory)
    port = free_port()
    backends.start("hold", ((_BACKEND, port),), stack, directory)
    job = Job((_BACKEND,), port, certificate=certificate)
    return {name: partial(_size, name, job, directory, int(1_500 * scale)) for name in ("ours", "haproxy")}


def _size(name: str, job: Job, directory: Path, count: int) -> float:
    assert job.certificate is not None
    with ExitStack() as stack:
        proxy = contestants.start(name, job, stack, Path(mkdtemp(dir=directory)))
        client = _Client(proxy, job.certificate)
        with ExitStack() as passing:
            for secured in _greeted(client, count // _IDLE_WARM_UP_SHARE):
                passing.enter_context(secured)
        time.sleep(_IDLE_SETTLES_IN)
        before = proxy.process.rss_bytes
        for secured in _greeted(client, count):
            stack.enter_context(secured)
        time.sleep(_IDLE_SETTLES_IN)
        return (proxy.process.rss_bytes - before) / count / 1024


def _greeted(client: _Client, count: int) -> Iterator[ssl.SSLSocket]:
    for _ in range(count):
        secured = client.connect()
        greeting = secured.recv(1)
        if greeting != GREETING:
            raise BenchmarkError(f"a greeting of {greeting!r}")
        yield secured
