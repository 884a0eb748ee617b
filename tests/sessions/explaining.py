"""What the two logs say of one connection: the line of the access log, and the lines of the log."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.sessions.memory_proxy import MemoryProxy

#: Fields of an access log that explain an end.
EXPLAINED = ("outcome", "side", "detail", "route", "target", "attempts", "sni", "host", "path")


class ExplainedCase(SynchronousTestCase):
    """Runs connections and reads what was logged."""

    def explained(self, act, *, level=("warn", "critical"), **configuration):
        """Run ``act`` with a proxy; return the explaining fields of its last connection, and the lines of the log.

        Fields that are unknown are left out. There are no fields where the access log has no line.
        """
        path = Path(self.mktemp())
        with capturedLogs() as logged:
            proxy = MemoryProxy(self, accessLog={"path": str(path.absolute())}, **configuration)
            act(proxy)
            proxy.settle()
            proxy.service.registry.ended.empty()
            proxy.service._runtime.accounting.access_log.flush()
        lines = [formatEvent(event) for event in logged if event["log_level"].name in level]
        entries = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
        if not entries:
            return {}, lines
        return {key: entries[-1][key] for key in EXPLAINED if entries[-1][key] not in {None, 0}}, lines
