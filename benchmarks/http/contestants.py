"""The proxies, each with the same task.

Requests for :data:`NAME` and any path go to one target over kept connections; a list of addresses is checked, forwarded fields
are added, and each request is logged to a file. Plain HTTP and TLS are on a port each. To add a proxy, add a function here and an
entry in ``CONTESTANTS``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from benchmarks import pythons
from benchmarks.contestants import LISTEN_ON, haproxy_program
from benchmarks.processes import PROXY_CPUS, BenchmarkError, Process, Start, free_port, start_all
from benchmarks.pythons import INTERPRETED, Build

#: The host that is asked for.
NAME = "bench.example"
#: Addresses that are refused; no client has one.
_BLOCKED = "203.0.113.0/24"


@dataclass(frozen=True, slots=True)
class HttpJob:
    """The task of a proxy.

    :ivar target: host and port, for everything but uploads and WebSocket.
    :ivar other_target: host and port for paths below ``/other/``.
    :ivar certificate: PEM file of a certificate and its key.
    :ivar is_logged: whether each request is logged.
    :ivar build: the version of smartproxy to run, and the interpreter.
    """

    target: tuple[str, int]
    other_target: tuple[str, int]
    certificate: Path
    is_logged: bool = True
    build: Build = INTERPRETED


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """A running proxy: its ports, and its process."""

    process: Process
    port: int
    tls_port: int


#: Returns the command for a job, two ports (plain and TLS), and a directory for its files.
Contestant = Callable[[HttpJob, int, int, Path], list[str]]


def smartproxy(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """smartproxy of the job's build, run by the ``twistd`` of its environment."""
    routes = [
        _route(f"{kind}-{name}", number, target, path, tls)
        for kind, number, tls in (("plain", port, None), ("tls", tls_port, job.certificate))
        for name, target, path in (("other", job.other_target, "/other/*"), ("all", job.target, "/*"))
    ]
    settings: dict[str, object] = {"routes": routes}
    if job.is_logged:
        settings["accessLog"] = {"path": str(directory / "access.log")}
    path = directory / "smartproxy.json"
    path.write_text(json.dumps(settings))
    return [*pythons.twistd(job.build), "-n", "--pidfile=", "smartproxy", "--config", str(path)]


def _route(
    name: str, port: int, target: tuple[str, int], path: str, certificate: Path | None
) -> dict[str, object]:
    action: dict[str, object] = {
        "protocol": "http",
        "targets": [{"host": target[0], "port": target[1]}],
        "http": {"pool": {"maxIdle": 10_000}},
    }
    if certificate is not None:
        action["tls"] = {"mode": "terminate", "certificate": {"certFile": str(certificate)}}
    match: dict[str, object] = {"ports": [port], "address": LISTEN_ON, "path": path}
    if certificate is None:  # wrk asks for the host of its URL in TLS
        match["domains"] = [NAME]
    return {"name": name, "match": match, "action": action, "security": {"ipBlockList": [_BLOCKED]}}


def haproxy(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """Debian's haproxy in ``mode http`` with one thread."""
    lines = [
        "global",
        "    nbthread 1",
        "    maxconn 6000",
        "    log stdout format raw local0 info" if job.is_logged else "",
        "defaults",
        "    mode http",
        "    log global" if job.is_logged else "",
        "    option httplog",
        "    option forwardfor",
        "    option splice-auto",
        "    http-reuse always",
        "    timeout connect 5s",
        "    timeout client 1m",
        "    timeout server 1m",
        "    timeout http-request 1m",
        "    timeout http-keep-alive 75s",
        "    timeout tunnel 1h",
        "frontend bench",
        f"    bind {LISTEN_ON}:{port}",
        f"    bind {LISTEN_ON}:{tls_port} ssl prefer-client-ciphers crt {job.certificate}",
        f"    acl blocked src {_BLOCKED}",
        "    http-request deny if blocked",
        f"    acl named hdr(host),field(1,:) -i {NAME}",
        "    acl other path_beg /other/",
        "    http-request set-header X-Forwarded-Proto http",
        "    http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        "    http-request set-header X-Forwarded-Port %[dst_port]",
        "    http-request set-header X-Real-IP %[src]",
        "    use_backend others if named other",
        "    use_backend all if named",
        "backend all",
        f"    server one {job.target[0]}:{job.target[1]}",
        "backend others",
        f"    server one {job.other_target[0]}:{job.other_target[1]}",
    ]
    path = directory / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
    return [haproxy_program(), "-db", "-f", str(path)]


_NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 8000; }}
http {{
    access_log {log};
    client_body_temp_path {directory};
    proxy_temp_path {directory};
    fastcgi_temp_path {directory};
    uwsgi_temp_path {directory};
    scgi_temp_path {directory};
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream all {{ server {target}; keepalive 10000; keepalive_requests 1000000000; }}
    upstream others {{ server {other}; keepalive 10000; keepalive_requests 1000000000; }}
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_buffering off;
    client_max_body_size 0;
    proxy_set_header Host $http_host;
    proxy_set_header Connection $connection_upgrade;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_read_timeout 1h;
    server {{
        listen {address}:{port};
        listen {address}:{tls_port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        server_name {name};
        deny {blocked};
        location / {{ proxy_pass http://all; }}
        location /other/ {{ proxy_pass http://others; }}
    }}
}}
"""


def nginx(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """Debian's nginx in one process."""
    path = directory / "nginx.conf"
    path.write_text(
        _NGINX.format(
            directory=directory,
            log=directory / "access.log" if job.is_logged else "off",
            target="{}:{}".format(*job.target),
            other="{}:{}".format(*job.other_target),
            address=LISTEN_ON,
            port=port,
            tls_port=tls_port,
            certificate=job.certificate,
            name=NAME,
            blocked=_BLOCKED,
        )
    )
    return [nginx_program(), "-c", str(path), "-p", str(directory)]


CONTESTANTS: dict[str, Contestant] = {"ours": smartproxy, "haproxy": haproxy, "nginx": nginx}


def program(name: str) -> str:
    """Path of a program.

    :raises BenchmarkError: if it is not installed.
    """
    found = shutil.which(name, path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
    if found is None:
        raise BenchmarkError(f"{name} is not installed")
    return found


def nginx_program() -> str:
    """Path of nginx.

    :raises BenchmarkError: if it is not installed.
    """
    return program("nginx")


def in_builds(job: HttpJob) -> dict[str, HttpJob]:
    """The job of smartproxy by key, and the same for each other build: ``ours/debian`` and ``ours/compiled``."""
    others = pythons.others().items()
    return {"ours": job, **{f"ours/{name}": replace(job, build=build) for name, build in others}}


def start(
    key: str,
    job: HttpJob,
    stack: ExitStack,
    directory: Path,
    known: Mapping[str, Contestant] = CONTESTANTS,
) -> HttpProxy:
    """Start the proxy ``NAME`` of a key ``NAME`` or ``NAME/VARIANT``. It ends when ``stack`` unwinds."""
    return start_each([(key, job)], stack, directory, known)[0]


def start_each(
    jobs: Iterable[tuple[str, HttpJob]],
    stack: ExitStack,
    directory: Path,
    known: Mapping[str, Contestant] = CONTESTANTS,
) -> list[HttpProxy]:
    """Start several proxies, each a key and its job as of :func:`start`.

    :raises BenchmarkError: if one does not start, or does not run the build of its job.
    """
    starts, tls_ports, builds = [], [], []
    for key, job in jobs:
        place = Path(mkdtemp(prefix=key.replace("/", "-").replace(" ", "-") + "-", dir=directory))
        port, tls_port = free_port(), free_port()
        command = known[key.partition("/")[0]](job, port, tls_port, place)
        starts.append(Start(key, command, place / "log", (LISTEN_ON, port), job.build.checkout))
        tls_ports.append(tls_port)
        builds.append(job.build)
    processes = start_all(starts, stack, PROXY_CPUS)
    for process, build in zip(processes, builds, strict=True):
        pythons.check(process, build)
    return [
        HttpProxy(process, each.address[1], tls_port)
        for process, each, tls_port in zip(processes, starts, tls_ports, strict=True)
    ]
