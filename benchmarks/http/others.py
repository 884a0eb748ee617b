"""Requests a second beside other proxies in Python: ``python -m benchmarks.http.others``.

smartproxy, mitmproxy as a reverse proxy and proxy.py answer requests for two bytes from 32 clients as fast as they can, one
process on one CPU each, in turns; none writes a log. proxy.py is a forward proxy on kept connections, because its reverse proxy
fails there, and a reverse proxy where each request has its connection (``close``). The others are installed from PyPI into a separate
environment, ``.venv-others``, if it is missing: they need other versions of some dependencies.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target, wrk
from benchmarks.http.contestants import Contestant, HttpJob, HttpProxy, smartproxy
from benchmarks.processes import LOAD_CPUS, ROOT, BenchmarkError, allow_descriptors, exit_on_sigterm
from benchmarks.series import Probe, Series, Workload, run

ENVIRONMENT = ROOT / ".venv-others"
#: Names on PyPI.
PACKAGES = ("mitmproxy", "proxy.py")
#: What each of the others costs at least, as a multiple of smartproxy.
BAR = 5.0
_AT_ONCE = 32
_SECONDS = 5
_QUICK = 0.2

#: Requests as a client sends them to a forward proxy.
_ABSOLUTE = """\
request = function() return "GET http://{target}/ HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n" end
"""
_PLUGIN = """\
from proxy.http.server import ReverseProxyBasePlugin

class BenchmarkRoute(ReverseProxyBasePlugin):
    def routes(self):
        return [(r"/", [b"http://{target}/"])]
"""


def mitmproxy(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """``mitmdump`` in reverse mode, which prints nothing and passes bodies on instead of storing them."""
    del tls_port
    options = {
        "confdir": str(directory),
        "flow_detail": "0",
        "keep_host_header": "true",
        "onboarding": "false",
        "stream_large_bodies": "1",
    }
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    mode = "reverse:http://{}:{}".format(*job.target)
    program = str(ENVIRONMENT / "bin" / "mitmdump")
    return [program, "--mode", mode, "--listen-host", LISTEN_ON, "-p", str(port), "-q", *settings]


def forward(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """proxy.py as a forward proxy, in one process beside its parent, which only waits."""
    del job, tls_port
    return [
        str(ENVIRONMENT / "bin" / "python"), "-m", "proxy", "--hostname", LISTEN_ON, "--port", str(port),
        "--num-acceptors", "1", "--num-workers", "1", "--local-executor", "1", "--backlog", "1024",
        "--log-level", "CRITICAL", "--data-dir", str(directory),
    ]  # fmt: skip


def reverse(job: HttpJob, port: int, tls_port: int, directory: Path) -> list[str]:
    """proxy.py as a reverse proxy, which (2.4.10) does not answer the second request on a connection."""
    (directory / "benchmark_route.py").write_text(_PLUGIN.format(target="{}:{}".format(*job.target)))
    settings = [
        "--disable-http-proxy",
        "--enable-reverse-proxy",
        "--plugins",
        "benchmark_route.BenchmarkRoute",
    ]
    return [*forward(job, port, tls_port, directory), *settings]


OTHERS: dict[str, Contestant] = {
    "ours": smartproxy,
    "mitmproxy": mitmproxy,
    "proxy.py/forward": forward,
    "proxy.py/reverse": reverse,
}


def install() -> None:
    """Make the environment of the other proxies if it is missing.

    :raises BenchmarkError: if pip fails.
    """
    if (ENVIRONMENT / "installed").exists():
        return
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    for command in ([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], [*pip, *PACKAGES]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)}: {done.stderr[-500:]}")
    (ENVIRONMENT / "installed").touch()


def versions() -> str:
    """The versions of the other proxies."""
    program = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(ENVIRONMENT / "bin" / "python"), "-c", program, *PACKAGES]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return ", ".join(f"{name} {number}" for name, number in zip(PACKAGES, told, strict=True))


def _probes(
    measure: Callable[[HttpProxy, list[str], float], float], stack: ExitStack, directory: Path, scale: float
) -> dict[str, Probe]:
    """Start and warm up every proxy. Each probe runs wrk for ``5 * scale`` seconds."""
    job = replace(target.start(stack, directory), is_logged=False)
    script = directory / "absolute.lua"
    script.write_text(_ABSOLUTE.format(target="{}:{}".format(*job.target)))
    absolute, closing = ["-s", str(script)], ["-H", "Connection: close"]
    made: dict[str, Probe] = {}
    for name, contestant in OTHERS.items():
        proxy = contestants.start("one", job, stack, directory, {"one": contestant})
        variants = {"": absolute if name == "proxy.py/forward" else [], "/close": closing}
        for variant in _VARIANTS.get(name, variants):
            words = [*variants[variant], wrk.url_of(proxy)]
            wrk.requests(_AT_ONCE, 2, words)
            made[name + variant] = partial(measure, proxy, words, max(_SECONDS * scale, 1))
    return made


#: Either of proxy.py's modes has one of them.
_VARIANTS = {"proxy.py/forward": ("",), "proxy.py/reverse": ("/close",)}


def _rate(proxy: HttpProxy, words: list[str], seconds: float) -> float:
    del proxy
    return wrk.requests(_AT_ONCE, seconds, words) / seconds


WORKLOADS = (
    Workload("saturation", "requests/s", partial(_probes, _rate), 1),
    Workload("cost", wrk.UNIT, partial(_probes, wrk.cost), 1),
)


def text(rates: Series, costs: Series) -> str:
    """One line for each proxy: medians, and how many times as much smartproxy answers, or the other costs.

    The verdict is on the cost: where other programs run, the proxies do not get equal shares of their CPU.
    """
    lines = [f"{'':<24}{'requests/s':>12}{'ours to it':>12}{'µs/request':>12}{'it to ours':>12}  ≥ {BAR:g}"]
    for name in rates.rounds:
        ours = "ours/close" if name.endswith("/close") else "ours"
        rate, cost = rates.median(name), costs.median(name)
        more, dearer = rates.ratio(ours, name), costs.ratio(name, ours)
        if not (rate and cost and more and dearer):
            raise BenchmarkError(f"{name} was not measured")
        verdict = "-" if name == ours else "yes" if dearer >= BAR else "NO"
        lines.append(f"{name:<24}{rate:>12.0f}{more:>12.2f}{cost:>12.1f}{dearer:>12.2f}  {verdict}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http.others")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, whose median counts (default: 5)")
    parser.add_argument("--quick", action="store_true", help="do a fifth of the work, for development")
    options = parser.parse_args(argv)
    exit_on_sigterm()
    allow_descriptors(1024)
    try:
        install()
        os.sched_setaffinity(0, LOAD_CPUS)
        rates, costs = (run(each, options.rounds, _QUICK if options.quick else 1.0) for each in WORKLOADS)
    except (BenchmarkError, OSError) as failed:
        print(
            f"benchmarks.http.others: {failed}", *getattr(failed, "__notes__", ()), sep="\n", file=sys.stderr
        )
        return 1
    print(text(rates, costs))
    where = machine.facts()
    print(f"{where['cpu']}, {where['cores']} cores, Python {where['python']}; {versions()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
