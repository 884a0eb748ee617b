"""Requests by wrk: microseconds of the proxy's CPU for each, and the 99th percentile of latency at a fixed rate.

32 connections, one request at a time on each. wrk checks statuses, and reports errors of sockets; both end the run.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.contestants import LISTEN_ON
from benchmarks.http import contestants, target
from benchmarks.http.contestants import CONTESTANTS, NAME, HttpProxy
from benchmarks.processes import BenchmarkError
from benchmarks.series import Probe, entry_of

UNIT = "µs/request"
LATENCY_UNIT = "ms"
_AT_ONCE = 32
_SECONDS, _LATENCY_SECONDS = 2, 2
_SETTLES_IN = 0.05
_WARM_UPS_AT_ONCE = 5
_PACED_CONNECTIONS = 64
#: Requests a second from which the paced rate is set: the capacity measured at the start, of ours.
_SHARE = 0.5

_DONE = re.compile(r"^\s*([0-9]+) requests in ", re.MULTILINE)
_ERRORS = re.compile(r"^\s*(Non-2xx.*|Socket errors.*)$", re.MULTILINE)
_LATENCY = re.compile(r"^\s*99% +([0-9.]+)(us|ms|s) *$", re.MULTILINE)
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}

#: A browser's head, in which path, cookie and referer differ in every request.
BROWSER = """\
local n = 0
local fixed = table.concat({
  " HTTP/1.1", "Host: %s", "Connection: keep-alive",
  "sec-ch-ua: \\"Chromium\\";v=\\"124\\", \\"Google Chrome\\";v=\\"124\\", \\"Not-A.Brand\\";v=\\"99\\"",
  "sec-ch-ua-mobile: ?0", "sec-ch-ua-platform: \\"Linux\\"", "Upgrade-Insecure-Requests: 1",
  "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
  "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document",
  "Accept-Encoding: gzip, deflate, br, zstd", "Accept-Language: en-US,en;q=0.9", ""}, "\\r\\n")
request = function()
  n = n + 1
  return "GET /page/" .. n .. "?id=" .. n * 7 .. fixed .. "Referer: https://%s/page/" .. (n - 1)
    .. "\\r\\nCookie: session=" .. string.format("%%016x", n * 2654435761) .. "; theme=dark\\r\\n\\r\\n"
end
"""
#: Requests at a fixed rate, each after a random pause on its connection.
PACED = "delay = function() return math.random(0, %d) end\n"


def probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and warm up every proxy. Each probe runs wrk for ``2 * scale`` seconds, and at least one."""
    variants = _variants(directory)
    job = target.start(stack, directory)
    jobs = {**contestants.in_builds(job), **{name: job for name in CONTESTANTS if name != "ours"}}
    silent = {key: replace(each, is_logged=False) for key, each in jobs.items()}
    started = contestants.start_each([*jobs.items(), *silent.items()], stack, directory)
    runs: dict[str, Callable[[float], float]] = {}
    for key, logged, unlogged in zip(jobs, started[: len(jobs)], started[len(jobs) :], strict=True):
        for variant, words in (*variants.items(), ("no log", [])):
            proxy = unlogged if variant == "no log" else logged
            entry = entry_of(key, variant)
            runs[entry] = partial(cost, proxy, [*words, url_of(proxy, tls=variant == "tls")])
    _warm_up(runs.values())
    return {entry: partial(run, max(_SECONDS * scale, 1)) for entry, run in runs.items()}


def _warm_up(runs: Iterable[Callable[[float], float]]) -> None:
    """A second of each, five at a time, which is some hundred requests at least."""
    with ThreadPoolExecutor(_WARM_UPS_AT_ONCE) as pool:
        for _ in pool.map(lambda run: run(1), runs):
            pass


def _variants(directory: Path) -> dict[str, list[str]]:
    """The words of wrk for each kind of request, by the name in the keys of the entries; that of the plain one is empty."""
    browser = directory / "browser.lua"
    browser.write_text(BROWSER % (NAME, NAME))
    return {"": [], "browser": ["-s", str(browser)], "tls": [], "close": ["-H", "Connection: close"]}


def latency_probes(
    stack: ExitStack, directory: Path, scale: float, names: Iterable[str] = ("ours", "haproxy", "nginx")
) -> dict[str, Probe]:
    """The same load for all: half of the rate that ours answers at most. Each probe runs wrk for two seconds."""
    del scale
    job = target.start(stack, directory)
    names = tuple(names)
    started = contestants.start_each([(name, job) for name in names], stack, directory)
    proxies = dict(zip(names, started, strict=True))
    _run(_AT_ONCE, 2, [url_of(proxies["ours"])])
    most, seconds = _run(_AT_ONCE, 2, [url_of(proxies["ours"])])[0], 2
    rate = _SHARE * most / seconds
    script = directory / "paced.lua"
    script.write_text(PACED % round(2000 * _PACED_CONNECTIONS / rate))
    made: dict[str, Probe] = {}
    for name, proxy in proxies.items():
        words = ["-s", str(script), url_of(proxy)]
        made[name] = partial(_latency, words, _LATENCY_SECONDS)
    return made


def cost(proxy: HttpProxy, words: list[str], seconds: float) -> float:
    """Microseconds of the proxy's CPU for each request."""
    before = proxy.process.cpu_ns
    count, _ = _run(_AT_ONCE, seconds, words)
    time.sleep(_SETTLES_IN)
    return (proxy.process.cpu_ns - before) / count / 1000


def requests(connections: int, seconds: float, words: list[str]) -> int:
    """Requests answered in ``seconds`` over so many kept connections, one at a time on each."""
    return _run(connections, seconds, words)[0]


def _latency(words: list[str], seconds: float) -> float:
    return _run(_PACED_CONNECTIONS, seconds, words)[1]


def url_of(proxy: HttpProxy, *, tls: bool = False) -> str:
    """What wrk asks ``proxy`` for."""
    return f"https://localhost:{proxy.tls_port}/" if tls else f"http://{LISTEN_ON}:{proxy.port}/"


def _run(connections: int, seconds: float, words: list[str]) -> tuple[int, float]:
    """Requests answered, and milliseconds within which 99 % of them were."""
    told = report(connections, seconds, words)
    done, late = _DONE.search(told), _LATENCY.search(told)
    if done is None or late is None:
        raise BenchmarkError(f"wrk {' '.join(words)}: {told}")
    return int(done[1]), float(late[1]) * _MS[late[2]]


def report(connections: int, seconds: float, words: list[str]) -> str:
    """What wrk prints.

    :raises BenchmarkError: if a request failed, or none was answered.
    """
    options = ["-t1", f"-c{connections}", f"-d{round(seconds)}s", "--latency", "-H", f"Host: {NAME}"]
    run: Callable[..., subprocess.CompletedProcess[str]] = partial(
        subprocess.run, capture_output=True, text=True, timeout=seconds + 60, check=False
    )
    told = run([contestants.program("wrk"), *options, *words]).stdout
    done, errors = _DONE.search(told), _ERRORS.search(told)
    if done is None or errors is not None or not int(done[1]):
        raise BenchmarkError(f"wrk {' '.join(words)}: {errors[1] if errors else told}")
    return told
