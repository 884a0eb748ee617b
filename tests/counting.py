"""Work counted in calls: a measure that does not depend on the machine or on what else it does."""

from __future__ import annotations

import sys
from contextlib import contextmanager


class _Calls:
    count = 0


@contextmanager
def counted(*, builtins=False):
    """Count the calls of Python functions within, and of builtin ones where that is wanted."""
    calls, events = _Calls(), ("call", "c_call") if builtins else ("call",)

    def count(frame, event, argument):
        calls.count += event in events

    former = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(former)
