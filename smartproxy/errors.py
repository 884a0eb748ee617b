"""One closed tree of everything that smartproxy raises on purpose.

Every refusal of a connection carries the :class:`~smartproxy.model.outcome.RejectReason` that it is
counted under, so that no caller has to translate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartproxy.model.outcome import RejectReason


class SmartProxyError(Exception):
    """The root. Nothing raises it itself."""


class Refused(SmartProxyError):
    """A connection is not taken any further.

    :ivar reason: the label that it is counted under.
    :ivar detail: for the log: one line, plain ASCII, nothing that a client could have written.
    """

    def __init__(self, reason: RejectReason, detail: str = "") -> None:
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail


class DialFailed(Refused):
    """No target of a route could be connected to. The reason is that of the last attempt."""


class ConfigurationError(SmartProxyError):
    """A configuration is not valid.

    :ivar problems: one line each, ready to print: ``FILE:LINE: key.path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
