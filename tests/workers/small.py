"""A memory so small that its columns, tables and rings are soon full."""

from __future__ import annotations

from smartproxy.workers.memory import LimitsMemory


def small_memory(rows: int = 4, **sizes: int) -> LimitsMemory:
    return LimitsMemory.create(rows, **{"columns": 8, "clients": 8, "events": 16, **sizes})
