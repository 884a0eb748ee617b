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

    :ivar entry: the entry of smartproxy, interpreted. Where the row is compared with haproxy, ``ENTRY/debian`` and
        ``ENTRY/compiled`` are shown beside it if they were measured.
    :ivar to: the entry that ``entry`` is divided by; None compares the median itself with the bar.
    :ivar bar: upper limit of the ratio or median; None: shown only.
    :ivar compiled_bar: upper limit of the ratio of the compiled build to ``to``; None: shown only.
    :ivar haproxy: the entry shown in haproxy's column.
    :ivar nginx: the entry shown in nginx's column.
    :ivar portforward: the entry shown in portforward's column.
    """

    title: str
    workload: str
    entry: str
    to: str | None = None
    bar: float | None = None
    compiled_bar: float | None = None
    haproxy: str | None = None
    nginx: str | None = None
    portforward: str | None = None

    @property
    def columns(self) -> dict[str, str | None]:
        """The entry of each column of the table."""
        has_builds = self.to is not None and self.to.partition("/")[0] == "haproxy"
        return {
            "ours": self.entry,
            "debian": f"{self.entry}/debian" if has_builds else None,
            "compiled": f"{self.entry}/compiled" if has_builds else None,
            "haproxy": self.haproxy,
            "nginx": self.nginx,
            "portforward": self.portforward,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its numbers.

    :ivar medians: by column, in ``unit``; None if it was not measured.
    :ivar measured: what is compared with the bar.
    :ivar compiled_measured: what is compared with the bar of the compiled build.
    """

    row: Row
    unit: str
    medians: Mapping[str, float | None]
    measured: float | None
    compiled_measured: float | None

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None without a bar or a result."""
        return is_met(self.measured, self.row.bar)

    @property
    def compiled_met(self) -> bool | None:
        """The same for the compiled build."""
        return is_met(self.compiled_measured, self.row.compiled_bar)

    def as_json(self) -> dict[str, object]:
        """The row with its numbers, for ``latest.json``."""
        return {
            **asdict(self.row),
            "medians": {"unit": self.unit, **self.medians},
            "measured": self.measured,
            "met": self.met,
            "compiled_measured": self.compiled_measured,
            "compiled_met": self.compiled_met,
        }


def is_met(measured: float | None, bar: float | None) -> bool | None:
    """Whether a value is at most ``bar``; None without a bar or a value."""
    return None if measured is None or bar is None else measured <= bar


_HAPROXY = "haproxy"
#: All other proxies, in the order of the fields.
_ALL = (_HAPROXY, "nginx", "portforward")

ROWS = (
    Row("Bulk TCP, splice", "bulk", "ours", _HAPROXY, 0.7, None, *_ALL),
    Row("The same, haproxy always splicing", "bulk", "ours", "haproxy/always spliced", haproxy="haproxy/always spliced"),
    Row("Bulk TCP, transport relay", "bulk", "ours/transport", _HAPROXY, 1.0, haproxy=_HAPROXY, portforward="portforward"),
    Row("Bulk, accounting on against off", "bulk", "ours", "ours/bare", 1.03),
    Row("A connection, limits, accounting", "connections", "ours", _HAPROXY, 1.55, 1.35, *_ALL),
    Row("Limits, accounting on against off", "connections", "ours", "ours/bare", 1.06),
    Row("After a PROXY v2 header", "connections", "ours/header", "haproxy/header", 1.85, 1.6, "haproxy/header"),
    Row("PROXY v2 against a plain one", "connections", "ours/header", "ours", 1.2),
    Row("SNI passthrough, 10 routes", "connections", "ours/sni", "haproxy/sni", 1.9, 1.65, "haproxy/sni"),
    Row("SNI, 10 routes against a plain one", "connections", "ours/sni", "ours", 1.2),
    Row("SNI, 10,000 routes against ten", "connections", "ours/sni 10000", "ours/sni", 1.05, haproxy="haproxy/sni 10000"),
    Row("Look-up, 10,000 routes against ten", "routes", "ours/10000", "ours/10", 1.1),
    Row("Connections a second, saturated", "saturation", "ours", _HAPROXY, None, None, *_ALL),
    *(
        Row(f"Latency at half load, {share} %", "latency", f"ours/{name}", f"haproxy/{name}",
            haproxy=f"haproxy/{name}", nginx=f"nginx/{name}", portforward=f"portforward/{name}")
        for name, share in PERCENTILES.items()
    ),
    Row("An idle connection", "idle", "ours", None, 3.6, haproxy=_HAPROXY, portforward="portforward"),
    Row("TLS 1.3 terminated, bulk", "tls-bulk", "ours", _HAPROXY, 1.0, haproxy=_HAPROXY),
    Row("TLS 1.3 re-encrypted, bulk", "tls-bulk", "ours/re-encrypt", "haproxy/re-encrypt", 1.4, haproxy="haproxy/re-encrypt"),
    Row("A connection with a TLS handshake", "tls-handshakes", "ours", _HAPROXY, 1.4, 1.3, _HAPROXY),
    Row("The same, resumed", "tls-handshakes", "ours/resumed", "haproxy/resumed", 1.5, 1.4, "haproxy/resumed"),
    Row("An idle TLS connection", "tls-idle", "ours", None, 24.0, haproxy=_HAPROXY),
)  # fmt: skip


def results(measured: Mapping[str, Series]) -> Iterator[Result]:
    """The rows of workloads that were measured."""
    for row in ROWS:
        series = measured.get(row.workload)
        ours = series.median(row.entry) if series else None
        if series is None or ours is None:
            continue
        medians = {name: series.median(entry) if entry else None for name, entry in row.columns.items()}
        compiled = row.columns["compiled"]
        yield Result(
            row,
            series.unit,
            medians,
            series.ratio(row.entry, row.to) if row.to else ours,
            series.ratio(compiled, row.to) if compiled and row.to else None,
        )
