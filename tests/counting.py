"""Work counted in calls: a measure that does not depend on the machine or on what else it does."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager


class _Calls:
    count = 0


@contextmanager
def counted(*, builtins=False):
    """Count the calls of Python functions within, and of builtin ones where that is wanted.

    The garbage collector does not run meanwhile: finalizers and callbacks of what others have left are calls, too.
    """
    calls, events = _Calls(), ("call", "c_call") if builtins else ("call",)

    def count(frame, event, argument):
        calls.count += event in events

    former, collects = sys.getprofile(), gc.isenabled()
    gc.disable()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(former)
        if collects:
            gc.enable()
