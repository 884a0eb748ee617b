"""The proxies that are compared, and each one's configuration for a job.

A job is independent of any proxy's configuration language. A contestant turns it into the command that starts the
proxy, and writes the configuration to a separate directory. To add a proxy, add a function here and an entry
in ``CONTESTANTS``, and name it in a workload.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from benchmarks import pythons
from benchmarks.processes import PROXY_CPUS, PYTHON, BenchmarkError, Process, Start, free_port, start_all
from benchmarks.pythons import INTERPRETED, Build

LISTEN_ON = "127.0.0.1"
#: A limit that is checked and never reached.
_NEVER_REACHED = 10_000_000
#: Bytes that a pipe of haproxy holds: as many as those of smartproxy, and the most that an unprivileged process may ask for.
_PIPE_SIZE = 1 << 20
#: Debian's ``libnginx-mod-stream``.
_NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
#: Settings that switch off limits, accounting and timeouts: the baseline for what those features cost.
_UNSUPERVISED: dict[str, object] = {
    "metrics": False,
    "zombieDetection": False,
    "keepAliveTreatment": "standard",
    "inactivityTimeout": 0,
    "maxConnectionLifetime": 0,
    "halfCloseTimeout": 0,
}


@dataclass(frozen=True, slots=True)
class Job:
    """The task of a proxy.

    :ivar backend_hosts: dialed in turn, all on ``backend_port``.
    :ivar accepts_header: clients send a PROXY header.
    :ivar domains: one route for each, by SNI; empty means one route without detection.
    :ivar supervised: check limits and rates, which are never reached; sample throughput, detect zombies, apply
        timeouts. Otherwise everything that can be switched off is.
    :ivar accelerated: relay in the kernel, if the proxy has a setting for it.
    :ivar always_spliced: haproxy splices in all cases, through pipes of 1 MiB, and not only where it expects a gain.
    :ivar certificate: terminate the clients' TLS with this PEM file of a certificate and its key.
    :ivar encrypted_backend: use TLS to the backend, too, without verifying it.
    :ivar algorithm: ``loadBalancing.algorithm``; empty leaves it out of the configuration.
    :ivar build: the version of smartproxy to run, and the interpreter.
    """

    backend_hosts: tuple[str, ...]
    backend_port: int
    accepts_header: bool = False
    domains: tuple[str, ...] = ()
    supervised: bool = True
    accelerated: bool = True
    always_spliced: bool = False
    certificate: Path | None = None
    encrypted_backend: bool = False
    algorithm: str = ""
    build: Build = INTERPRETED


#: Returns the command for a job, the port to listen on, and a directory for its files.
Contestant = Callable[[Job, int, Path], list[str]]


def smartproxy(job: Job, port: int, directory: Path) -> list[str]:
    """smartproxy of the job's build, run by the ``twistd`` of its environment."""
    match: dict[str, object] = {"ports": [port], "address": LISTEN_ON}
    if job.certificate:
        match["protocol"] = "tls"
    asked = [{"domains": [domain]} for domain in job.domains] or [{}]
    settings: dict[str, object] = {
        "acceleration": "auto" if job.accelerated else "off",
        "routes": [
            {"name": f"bench-{n}", "match": match | asks, "action": _forward(job, n)}
            for n, asks in enumerate(asked)
        ],
    }
    if job.accepts_header:
        settings["proxyIPs"] = ["127.0.0.0/8"]
    if job.supervised:
        names = ("maxConnections", "maxConnectionsPerIP", "connectionRateLimitPerMinute")
        settings |= dict.fromkeys(names, _NEVER_REACHED)
    else:
        settings |= _UNSUPERVISED
    path = directory / "smartproxy.json"
    path.write_text(json.dumps(settings))
    return [*pythons.twistd(job.build), "-n", "--pidfile=", "smartproxy", "--config", str(path)]


def _forward(job: Job, number: int) -> dict[str, object]:
    """Each route has its own turns; starting at different hosts keeps all from beginning with the same backend."""
    first = number % len(job.backend_hosts)
    hosts = [*job.backend_hosts[first:], *job.backend_hosts[:first]]
    forward: dict[str, object] = {"type": "forward", "targets": [{"host": hosts, "port": job.backend_port}]}
    if job.algorithm:
        forward["loadBalancing"] = {"algorithm": job.algorithm}
    return forward | _tls(job)


def _tls(job: Job) -> dict[str, object]:
    if job.certificate is None:
        return {}
    tls: dict[str, object] = {"mode": "terminate", "certificate": {"certFile": str(job.certificate)}}
    if job.encrypted_backend:
        tls |= {"mode": "terminate-and-reencrypt", "upstream": {"verify": False}}
    return {"tls": tls}


def haproxy(job: Job, port: int, directory: Path) -> list[str]:
    """Debian's haproxy with a fitting configuration: one thread, splice where it helps, no log."""
    tls = " ssl verify none" if job.encrypted_backend else ""
    servers = [f"    server s{n} {host}:{job.backend_port}{tls}" for n, host in enumerate(job.backend_hosts)]
    lines = [
        "global",
        "    nbthread 1",
        "    maxconn 6000",
        f"    tune.pipesize {_PIPE_SIZE}" if job.always_spliced else "",
        "defaults",
        "    mode tcp",
        "    option splice-auto" if job.accelerated else "",
        *(f"    option splice-{way}" for way in ("request", "response") if job.always_spliced),
        "    timeout connect 5s",
        "    timeout client 1m",
        "    timeout server 1m",
        "frontend bench",
        f"    bind {LISTEN_ON}:{port}"
        + (" accept-proxy" if job.accepts_header else "")
        + (f" ssl prefer-client-ciphers crt {job.certificate}" if job.certificate else ""),
        *_haproxy_choice(job, directory),
        "backend all",
        "    balance roundrobin",
        *servers,
    ]
    path = directory / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
    return [haproxy_program(), "-db", "-f", str(path)]


def _haproxy_choice(job: Job, directory: Path) -> list[str]:
    if not job.domains:
        return ["    default_backend all"]
    path = directory / "domains.map"
    path.write_text("".join(f"{domain} all\n" for domain in job.domains))
    return [
        "    tcp-request inspect-delay 5s",
        "    tcp-request content accept if { req.ssl_hello_type 1 }",
        f"    use_backend %[req.ssl_sni,lower,map({path})]",
    ]


def haproxy_program() -> str:
    """Path of haproxy.

    :raises BenchmarkError: if it is not installed.
    """
    found = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise BenchmarkError("haproxy is not installed: apt-get install haproxy")
    return found


def portforward(job: Job, port: int, directory: Path) -> list[str]:
    """Twisted's port forwarder, which has no other features."""
    del directory
    if job.domains or job.accepts_header or job.certificate:
        raise ValueError("portforward supports neither TLS nor the PROXY header")
    return [*PYTHON, "-m", "benchmarks.portforward", str(port), str(job.backend_port), *job.backend_hosts]


_NGINX = """\
load_module {module};
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 8000; }}
stream {{
    upstream all {{ {servers} }}
    server {{
        listen {address}:{port} backlog=4096;
        proxy_pass all;
        proxy_connect_timeout 5s;
        proxy_timeout 1m;
    }}
}}
"""


def nginx(job: Job, port: int, directory: Path) -> list[str]:
    """Debian's nginx in one process, which relays TCP and has no log. See :func:`has_nginx`."""
    if job.domains or job.accepts_header or job.certificate:
        raise ValueError("nginx has no configuration here for TLS, SNI and the PROXY header")
    servers = " ".join(f"server {host}:{job.backend_port};" for host in job.backend_hosts)
    path = directory / "nginx.conf"
    path.write_text(
        _NGINX.format(
            module=_NGINX_STREAM, directory=directory, servers=servers, address=LISTEN_ON, port=port
        )
    )
    return ["/usr/sbin/nginx", "-c", str(path), "-p", str(directory)]


def has_nginx() -> bool:
    """Whether nginx and its module for TCP are installed: it is compared where it is."""
    return _NGINX_STREAM.exists() and Path("/usr/sbin/nginx").exists()


CONTESTANTS: dict[str, Contestant] = {
    "ours": smartproxy,
    "haproxy": haproxy,
    "nginx": nginx,
    "portforward": portforward,
}


@dataclass(frozen=True, slots=True)
class Running:
    """A running contestant: the address that its clients connect to, and its process."""

    address: tuple[str, int]
    process: Process


def in_builds(key: str, job: Job) -> dict[str, Job]:
    """The job of smartproxy, and the same for each other build: ``KEY/debian`` and ``KEY/compiled``."""
    others = pythons.others().items()
    return {key: job, **{f"{key}/{name}": replace(job, build=build) for name, build in others}}


def start(key: str, job: Job, stack: ExitStack, directory: Path) -> Running:
    """Start a contestant, which ends when ``stack`` unwinds.

    :param key: ``NAME`` or ``NAME/VARIANT``; the name is one of ``CONTESTANTS``.
    """
    return start_each([(key, job)], stack, directory)[0]


def start_each(jobs: Iterable[tuple[str, Job]], stack: ExitStack, directory: Path) -> list[Running]:
    """Start several contestants, each a key and its job as of :func:`start`.

    :raises BenchmarkError: if one does not start, or does not run the build of its job.
    """
    jobs = list(jobs)
    starts = [_start_of(key, job, directory) for key, job in jobs]
    processes = start_all(starts, stack, PROXY_CPUS)
    for process, (_, job) in zip(processes, jobs, strict=True):
        pythons.check(process, job.build)
    return [Running(each.address, process) for process, each in zip(processes, starts, strict=True)]


def _start_of(key: str, job: Job, directory: Path) -> Start:
    name = key.partition("/")[0]
    place = Path(mkdtemp(prefix=key.replace("/", "-").replace(" ", "-") + "-", dir=directory))
    port = free_port()
    command = CONTESTANTS[name](job, port, place)
    return Start(key, command, place / "log", (LISTEN_ON, port), job.build.checkout)
