"""The bars that the results are compared with, as data.

A row compares one entry of a workload with another one of the same rounds, or with a number. The table on the
terminal, the one in the README and ``latest.json`` are all made from these rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from benchmarks.saturation import PERCENTILES
from benchmarks.series import Series


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, with its comparison.

    :ivar entry: the entry of smartproxy.
    :ivar haproxy: the entry shown in haproxy's column.
    :ivar portforward: the entry shown in portforward's column.
    :ivar nginx: the entry shown in nginx's column.
    :ivar debian: the entry shown in the column of smartproxy on Debian's Python.
    :ivar to: the entry that ``entry`` is divided by; None compares the median itself with the bar.
    :ivar bar: upper limit of the ratio or median; None: shown only.
    """

    title: str
    workload: str
    entry: str
    haproxy: str | None = None
    portforward: str | None = None
    to: str | None = None
    bar: float | None = None
    nginx: str | None = None
    debian: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its numbers: medians in ``unit``, and ``measured``, which is compared with the bar."""

    row: Row
    unit: str
    ours: float
    haproxy: float | None
    portforward: float | None
    nginx: float | None
    debian: float | None
    measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without a bar or a result."""
        if self.row.bar is None or self.measured is None:
            return None
        return self.measured <= self.row.bar

    def as_json(self) -> dict[str, object]:
        """The row with its numbers, for ``latest.json``."""
        numbers = {
            name: getattr(self, name)
            for name in ("unit", "ours", "debian", "haproxy", "nginx", "portforward")
        }
        return {**asdict(self.row), "medians": numbers, "measured": self.measured, "met": self.met}


ROWS = (
    Row("Bulk TCP, splice", "bulk", "ours", "haproxy", "portforward", "haproxy", 0.7, "nginx", "ours/debian"),
    Row("The same, haproxy always spliced, 1 MiB pipes", "bulk", "ours", "haproxy/always spliced", None, "haproxy/always spliced"),
    Row("Bulk TCP, transport relay", "bulk", "ours/transport", "haproxy", "portforward", "haproxy", 1.0),
    Row("A connection, limits and accounting on", "connections", "ours", "haproxy", "portforward", "haproxy", 2.6, "nginx", "ours/debian"),
    Row("The same, against limits and accounting off", "connections", "ours", None, None, "ours/bare", 1.08),
    Row("Bulk TCP, splice, against accounting off", "bulk", "ours", None, None, "ours/bare", 1.03),
    Row("After a PROXY v2 header", "connections", "ours/header", "haproxy/header", None, "ours", 1.3),
    Row("SNI passthrough, 10 routes", "connections", "ours/sni", "haproxy/sni", None, "ours", 1.3),
    Row("SNI passthrough, 10,000 routes", "connections", "ours/sni 10000", "haproxy/sni 10000", None, "ours/sni", 1.1),
    Row("Route look-up, 10,000 routes", "routes", "ours/10000", None, None, "ours/10", 1.1),
    Row("Connections a second, at saturation", "saturation", "ours", "haproxy", "portforward", "haproxy", None, "nginx"),
    *(
        Row(f"Latency at half load, {share} %", "latency", f"ours/{name}", f"haproxy/{name}", f"portforward/{name}", f"haproxy/{name}", None, f"nginx/{name}")
        for name, share in PERCENTILES.items()
    ),
    Row("An idle connection", "idle", "ours", "haproxy", "portforward", None, 8.0),
    Row("TLS 1.3 terminated, bulk", "tls-bulk", "ours", "haproxy", None, "haproxy", 1.0),
    Row("TLS 1.3 re-encrypted, bulk", "tls-bulk", "ours/re-encrypt", "haproxy/re-encrypt", None, "haproxy/re-encrypt", 1.4),
    Row("A connection with a TLS handshake, P-256", "tls-handshakes", "ours", "haproxy", None, "haproxy", 1.6),
    Row("The same, resumed", "tls-handshakes", "ours/resumed", "haproxy/resumed", None, "haproxy/resumed", 2.0),
    Row("An idle TLS connection", "tls-idle", "ours", "haproxy", None, None, 60.0),
)  # fmt: skip


def results(measured: Mapping[str, Series]) -> Iterator[Result]:
    """The rows of workloads that were measured."""
    for row in ROWS:
        series = measured.get(row.workload)
        ours = series.median(row.entry) if series else None
        if series is None or ours is None:
            continue
        yield Result(
            row,
            series.unit,
            ours,
            series.median(row.haproxy) if row.haproxy else None,
            series.median(row.portforward) if row.portforward else None,
            series.median(row.nginx) if row.nginx else None,
            series.median(row.debian) if row.debian else None,
            series.ratio(row.entry, row.to) if row.to else ours,
        )
