"""One run of the soak: the processes, the traffic, what disturbs it, and the verdicts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from cryptography import x509

from benchmarks.processes import LOAD_CPUS, PYTHON, Process, free_port
from benchmarks.soak.certificates import DOMAIN, Authority, ChangingDirectory
from benchmarks.soak.clients import Clients
from benchmarks.soak.proxy import Ports, Proxy, settings, variant
from benchmarks.soak.secured import client_context
from benchmarks.soak.talk import FAULTY, HOST, ROUTES, WEB
from benchmarks.soak.verdicts import End, verdicts

_SAMPLE_EVERY = 10.0
#: Longer than the longest timeout of a route (60 s), for those of the kernel and of handlers that end late.
_SETTLES_WITHIN = 90.0
#: A certificate that was replaced is served within a poll of the files (10 s) and the time for a change to settle.
_RENEWED_WITHIN = 30.0


class Plan(NamedTuple):
    """The size of a run.

    :ivar seconds: of traffic after the warm-up.
    :ivar warm_up: seconds.
    :ivar clients: at the same time.
    :ivar workers: processes of the proxy.
    :ivar big: most bytes of the big transfers, of which one is always in progress.
    :ivar acceleration: that setting of the proxy.
    :ivar strict: run the proxy in Python's development mode with every warning an error.
    """

    seconds: float
    warm_up: float
    clients: int
    workers: int
    big: int
    acceleration: str
    strict: bool
    seed: str


class Soak:
    """One run.

    :ivar samples: sizes, with seconds since the start.
    :ivar end: what the verdicts are about, when it has run.
    """

    end: End

    def __init__(self, stack: ExitStack, directory: Path, plan: Plan) -> None:
        self._plan = plan
        self._random = Random(plan.seed)
        self.counts: Counter[str] = Counter()
        self.samples: list[dict[str, Any]] = []
        self._totals: dict[str, int] = {}
        self._began = time.monotonic()
        authority = Authority(directory)
        self._certificates = ChangingDirectory(directory / "certificates", authority, self._random)
        backends = {route: free_port() for route in (*ROUTES, WEB[0])}
        self._control = free_port()
        self._ports = ports = Ports(*(free_port() for _ in Ports._fields))
        admin = free_port()
        self._settings = settings(ports, backends, admin, authority.file, plan.acceleration, plan.workers)
        target = directory / "target.pem"
        target.write_bytes(b"".join(authority.pair(f"target.{DOMAIN}")[:2]))
        pairs = [f"{route}={port}" for route, port in backends.items()]
        command = [
            *PYTHON,
            "-m",
            "benchmarks.soak.backend",
            plan.seed,
            str(self._control),
            str(target),
            *pairs,
        ]
        backend = stack.enter_context(Process("backends", command, directory / "backends.log", LOAD_CPUS))
        backend.wait_until_listening(HOST, self._control)
        self.proxy = stack.enter_context(Proxy(directory, self._settings, strict=plan.strict))
        self.clients = Clients(ports, admin, client_context(authority.file), plan.clients, plan.seed)

    async def run(self) -> dict[str, bool]:
        """Warm up, soak, settle and judge."""
        await self._traffic(self._plan.warm_up)
        warm = await self._settled(None)
        if self._plan.workers == 1:  # else a worker that has some ends, sooner or later
            await self.clients.open_tunnels()
        await self._traffic(self._plan.seconds)
        self.proxy.configure(self._settings)
        self.proxy.hang_up()
        await self.clients.use_tunnels()
        served = await self._serves_last_certificate()
        size = await self._settled(warm)
        self.end = await asyncio.to_thread(self._collect, warm, size, served=served)
        return verdicts(self.end)

    async def _traffic(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(
            self.clients.run(until),
            _every(0.5, until, lambda: self.clients.transfer(self._plan.big)),
            _every(_SAMPLE_EVERY, until, self._sample),
            _every(1.7, until, self._scrape),
            _every(2.1, until, self._certificates.change),
            _every(7.3, until, self._reload),
            _every(0.9, until, self._end_one),
            *([_every(20, until, self._disturb_workers)] if self._plan.workers > 1 else ()),
        )

    async def _settled(self, warm: dict[str, int] | None) -> dict[str, int]:
        """Wait, with a limit, until no connection is open, and return the size."""
        deadline = time.monotonic() + _SETTLES_WITHIN
        while time.monotonic() < deadline:
            await asyncio.sleep(1)
            size = await self._sample()
            queued = (await asyncio.to_thread(self.proxy.api, "metrics"))["cleanup"]["queued"]
            as_before = warm is None or size["otherDescriptors"] <= warm["otherDescriptors"]
            if not size["connections"] and not queued and as_before:
                return size  # another sample may meet a file that is being read
        return await self._sample()

    async def _serves_last_certificate(self) -> bool:
        """Whether the certificates written last are shown to clients, in time."""
        deadline = time.monotonic() + _RENEWED_WITHIN
        while time.monotonic() < deadline:
            shown = {}
            for name in self._certificates.serials:
                shown[name] = await asyncio.to_thread(_serial, self._ports.of(name), name)
                self.clients.ledger.opened[name] += 1
            if shown == self._certificates.serials:
                return True
            await asyncio.sleep(1)
        return False

    # -- disturbances ------------------------------------------------------------------------------------

    async def _sample(self) -> dict[str, int]:
        size = await asyncio.to_thread(self.proxy.size)
        self.samples.append({"second": round(time.monotonic() - self._began, 1), **size})
        return size

    async def _scrape(self) -> None:
        path = self._random.choice(("/metrics", "/api/v1/metrics", "/api/v1/connections", "/api/v1/routes"))
        await asyncio.to_thread(self.proxy.ask, path)
        self.counts["scrapes"] += 1
        totals = (await asyncio.to_thread(self.proxy.api, "metrics"))["totals"]
        self.counts["decreases"] += any(totals[name] < count for name, count in self._totals.items())
        self._totals = totals

    async def _reload(self) -> None:
        self.counts["reloads"] += 1
        self.proxy.configure(variant(self._settings, self.counts["reloads"]))
        self.proxy.hang_up()

    async def _disturb_workers(self) -> None:
        """Kill a worker, let one end, or replace all."""
        kind = self._random.choice(("kills", "kills", "ends", "replacements"))
        self.counts[kind] += 1
        if kind != "kills":
            self.clients.ledger.drained_at = time.monotonic()
        if kind == "replacements":
            self.proxy.replace_workers()
            return
        workers = (await asyncio.to_thread(self.proxy.api, "workers"))["workers"]
        victim = self._random.choice([each["pid"] for each in workers if each["state"] == "serving"])
        if kind == "kills":
            self.clients.ledger.killed_at = time.monotonic()
        os.kill(victim, signal.SIGKILL if kind == "kills" else signal.SIGTERM)

    async def _end_one(self) -> None:
        """End a connection through the API, of a route on which that is no failure."""
        route = self._random.choice((FAULTY, "stubborn", "inside"))
        found = (await asyncio.to_thread(self.proxy.api, f"connections?route={route}"))["connections"]
        if found:
            one = self._random.choice(found)["id"]
            await asyncio.to_thread(self.proxy.ask, f"/api/v1/connections/{one}", "DELETE")
            self.counts["deletes"] += 1

    def _collect(self, warm: dict[str, int], size: dict[str, int], *, served: bool) -> End:
        shown = self.proxy.api("metrics")
        series = self.proxy.series()
        failed_reloads = self.proxy.failed_reloads()
        live = self.proxy.api("connections")["connections"]
        self.proxy.stop()
        return End(
            ledger=self.clients.ledger,
            backends=self._backend_totals(),
            series=series,
            shown=shown,
            live=live,
            warm=warm,
            size=size,
            failed_reloads=failed_reloads,
            serves_last_certificate=served,
            workers=self._plan.workers,
            decreases=self.counts["decreases"],
            exit_code=self.proxy.exit_code,
            log=self.proxy.log.read_text(errors="replace"),
        )

    def _backend_totals(self) -> dict[str, dict[str, int]]:
        with socket.create_connection((HOST, self._control), 10) as control, control.makefile("rb") as answer:
            books: dict[str, dict[str, int]] = json.load(answer)
        return books


def _serial(port: int, name: str) -> int:
    """The serial number of the certificate for ``name``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, port), 10) as sock,
        context.wrap_socket(sock, server_hostname=f"{name}.{DOMAIN}") as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
        with suppress(OSError):  # the other end may have no target to answer with
            secured.unwrap()
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


async def _every(seconds: float, until: float, act: Callable[[], Awaitable[object]]) -> None:
    """Call ``act`` periodically, up to that time of the loop's clock."""
    now = asyncio.get_running_loop().time
    while now() + seconds < until:
        await asyncio.sleep(seconds)
        await act()
