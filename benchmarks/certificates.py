"""A renewal among thousands of certificates and a reload with them, and what connections notice of it.

Run by ``python -m benchmarks.certificates [COUNT]``; 5,000 by default. A directory of so many certificates, each with
its key beside it, is served by a proxy. A client opens a connection every few milliseconds and times the whole of
it, first while nothing happens, then while one certificate is renewed, then during reloads of the configuration.

The bar: no connection takes 20 ms longer than the slowest one while nothing happens.
"""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.processes import PROXY_CPUS, PYTHON, BenchmarkError, Process, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 5_000
BAR = 0.020
_HOST = "127.0.0.1"
_PACE = 0.004
_AROUND = 3.0
_STALLS_AFTER = 60.0
_RELOADS = 3
_PEM = serialization.Encoding.PEM


class Result(NamedTuple):
    """Seconds of connections during one phase, and how many there were."""

    name: str
    took: float
    count: int
    p50: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.took:.1f} s, {self.count} connections, median {self.p50 * 1000:.1f} ms,"
            f" p99 {self.p99 * 1000:.1f} ms, worst {self.worst * 1000:.1f} ms"
        )


class Probe:
    """Opens connections one after the other, each timed from ``connect`` to the end of the answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = Event()
        self._times: list[float] = []
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_PACE):
            began = time.monotonic()
            with socket.create_connection((_HOST, self._port), _STALLS_AFTER) as sock:
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
            self._times.append(time.monotonic() - began)

    def during(self, name: str, act: Callable[[], None]) -> Result:
        """The connections while ``act`` runs."""
        self._times.clear()
        began = time.monotonic()
        act()
        took = time.monotonic() - began
        times = sorted(self._times)
        if not times:
            raise BenchmarkError(f"{name}: no connection was answered")
        return Result(
            name, took, len(times), times[len(times) // 2], times[len(times) * 99 // 100], times[-1]
        )

    def stop(self) -> None:
        """Open no more."""
        self._stop.set()
        self._thread.join(_STALLS_AFTER)


def write_pair(directory: Path, name: str) -> None:
    """Write ``NAME.crt`` and ``NAME.key``: a self-signed certificate for ``name``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / f"{name}.key").write_bytes(pem)
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(_PEM))


def measured(count: int) -> list[Result]:
    """Connections while nothing happens, during a renewal, and during reloads.

    :raises BenchmarkError: where the proxy does not start, or does not show the renewed certificate.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        certificates = directory / "certificates"
        certificates.mkdir()
        for number in range(count):
            write_pair(certificates, _name(number))
        plain, tls, admin = (free_port() for _ in range(3))
        config = _config(directory, plain, tls, admin)
        twistd = str(Path(PYTHON[0]).with_name("twistd"))
        command = [*PYTHON, twistd, "-n", "--pidfile=", "smartproxy", "--config", str(config)]
        proxy = stack.enter_context(Process("proxy", command, directory / "proxy.log", PROXY_CPUS))
        proxy.wait_until_listening(_HOST, plain)
        time.sleep(_AROUND)
        probe = Probe(plain)
        stack.callback(probe.stop)
        return [
            probe.during("nothing happens", lambda: time.sleep(_AROUND)),
            probe.during("one renewed", lambda: _renew(certificates, tls, _name(count // 2))),
            probe.during(f"{_RELOADS} reloads", lambda: _reload(admin)),
        ]


def _name(number: int) -> str:
    return f"n{number}.bench.example"


def _renew(certificates: Path, port: int, name: str) -> None:
    """Renew a certificate, and wait until clients are shown the new one."""
    before = _shown(port, name)
    write_pair(certificates, name)
    deadline = time.monotonic() + _STALLS_AFTER
    while _shown(port, name) == before:
        if time.monotonic() > deadline:
            raise BenchmarkError("the renewed certificate is not shown")
        time.sleep(0.2)


def _shown(port: int, name: str) -> bytes | None:
    # Without the system's authorities: loading them would hold up the probe.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((_HOST, port), _STALLS_AFTER) as sock,
        context.wrap_socket(sock, server_hostname=name) as secured,
    ):
        return secured.getpeercert(binary_form=True)


def _reload(admin: int) -> None:
    for _ in range(_RELOADS):
        request = urllib.request.Request(f"http://{_HOST}:{admin}/api/v1/reload", method="POST")
        urllib.request.urlopen(request, timeout=_STALLS_AFTER).close()


def _config(directory: Path, plain: int, tls: int, admin: int) -> Path:
    answer = {"type": "respond", "response": {"body": "x"}}
    settings = {
        "admin": {"port": admin},
        "tls": {"certificates": "certificates", "default": _name(0), "ocspStapling": False},
        "routes": [
            {"name": "plain", "match": {"ports": plain, "address": _HOST}, "action": answer},
            {
                "name": "tls",
                "match": {"ports": tls, "address": _HOST},
                "action": answer | {"tls": {"mode": "terminate"}},
            },
        ],
    }
    path = directory / "smartproxy.json"
    path.write_text(json.dumps(settings))
    return path


def main(count: int = COUNT) -> int:
    """Print what was measured; 1 where the bar is missed."""
    quiet, *busy = results = measured(count)
    for result in results:
        print(f"{count:,} certificates, {result}")
    worst = max(result.worst for result in busy) - quiet.worst
    print(f"longer than while nothing happens: {max(worst, 0.0) * 1000:.1f} ms (bar {BAR * 1000:.0f})")
    return int(worst > BAR)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
