"""TCP at the limit: connections a second, and the latency of a small exchange at half of the rate that smartproxy can relay.

wrk and nginx are client and target, because clients in Python would be slower than the proxies; the proxies relay their requests
and answers of about 150 bytes as they would any other bytes. The latency is that of 64 kept connections with random pauses, so
that all proxies get the same rate. It includes the load generator and the target, which share a CPU.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import contestants
from benchmarks.contestants import Job, Running
from benchmarks.http import target, wrk
from benchmarks.processes import BenchmarkError
from benchmarks.series import Probe

RATE_UNIT = "connections/s"
LATENCY_UNIT = "ms"
#: Names of the percentiles, and their shares.
PERCENTILES = {"p50": "50", "p99": "99", "p999": "99.9"}
_NAMES = ("ours", "haproxy", "portforward")
_AT_ONCE, _PACED_CONNECTIONS = 32, 64
_SECONDS, _LATENCY_SECONDS = 1, 2
_SHARE = 0.5
_DONE = """\
done = function(summary, latency)
  io.write(string.format("percentiles %s\\n", {values}))
end
"""


def rate_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Start and warm up every proxy. Each probe opens connections for a second, each for one exchange."""
    del scale  # wrk counts in whole seconds
    made: dict[str, Probe] = {}
    for name, proxy in _started(stack, directory).items():
        words = ["-H", "Connection: close", _url(proxy)]
        wrk.requests(_AT_ONCE, 1, words)
        made[name] = partial(_rate, words, _SECONDS)
    return made


def latency_probes(stack: ExitStack, directory: Path, scale: float) -> dict[str, Probe]:
    """Three probes for each proxy, whose values are those of one run of two seconds."""
    del scale
    proxies = _started(stack, directory)
    for proxy in proxies.values():
        wrk.requests(_AT_ONCE, 1, [_url(proxy)])
    rate = _SHARE * _rate([_url(proxies["ours"])], 2)
    script = directory / "paced.lua"
    values = ", ".join(f"latency:percentile({share})" for share in PERCENTILES.values())
    done = _DONE.replace("%s", " ".join(["%d"] * len(PERCENTILES))).replace("{values}", values)
    script.write_text(wrk.PACED % round(2000 * _PACED_CONNECTIONS / rate) + done)
    made: dict[str, Probe] = {}
    for name, proxy in proxies.items():
        sample = _Sample(["-s", str(script), _url(proxy)], _LATENCY_SECONDS)
        made |= {f"{name}/{percentile}": partial(sample.value, percentile) for percentile in PERCENTILES}
    return made


def _started(stack: ExitStack, directory: Path) -> dict[str, Running]:
    host, port = target.start(stack, directory).target
    names = (*_NAMES, "nginx") if contestants.has_nginx() else _NAMES
    jobs = [(name, Job((host,), port)) for name in names]
    return dict(zip(names, contestants.start_each(jobs, stack, directory), strict=True))


def _url(proxy: Running) -> str:
    return "http://{}:{}/".format(*proxy.address)


def _rate(words: list[str], seconds: float) -> float:
    return wrk.requests(_AT_ONCE, seconds, words) / seconds


class _Sample:
    """The percentiles of the latest run, each of which is returned once; then there is another run."""

    def __init__(self, words: list[str], seconds: float) -> None:
        self._words = words
        self._seconds = seconds
        self._left: dict[str, float] = {}

    def value(self, percentile: str) -> float:
        """Milliseconds."""
        if percentile not in self._left:
            self._left = self._measured()
        return self._left.pop(percentile)

    def _measured(self) -> dict[str, float]:
        told = wrk.report(_PACED_CONNECTIONS, self._seconds, self._words)
        found = re.search(r"^percentiles ([0-9 ]+)$", told, re.MULTILINE)
        if found is None:
            raise BenchmarkError(f"wrk has printed no percentiles: {told}")
        return {name: int(value) / 1000 for name, value in zip(PERCENTILES, found[1].split(), strict=True)}
