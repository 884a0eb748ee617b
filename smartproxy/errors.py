"""One closed tree of everything that smartproxy raises on purpose.

Every refusal of a connection carries the :class:`~smartproxy.model.outcome.RejectReason` that it is
counted under, so that no caller has to translate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.model.outcome import RejectReason

if TYPE_CHECKING:
    from smartproxy.wire.tls_alert import Alert


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


class HandshakeFailed(Refused):
    """TLS could not be agreed on.

    :ivar told: whether the peer has been sent an alert that it should have the time to read.
    """

    def __init__(self, detail: str, *, told: bool = True) -> None:
        super().__init__(RejectReason.TLS_ERROR, detail)
        self.told = told


class HandshakeRefused(Refused):
    """A client's TLS is refused before any of it has been spoken.

    :ivar alert: what the client is still to be told.
    """

    def __init__(self, detail: str, alert: Alert) -> None:
        super().__init__(RejectReason.TLS_ERROR, detail)
        self.alert = alert


class NotTls(Refused):
    """A client speaks something else on a route whose TLS ends here."""

    def __init__(self) -> None:
        super().__init__(RejectReason.TLS_ERROR, "plain bytes where TLS was due")


class Misdirected(Refused):
    """A request for a host whose clients are asked for another certificate than this one was."""

    def __init__(self) -> None:
        super().__init__(RejectReason.NO_ROUTE, "Host asks for other client certificates than SNI")


class DialFailed(Refused):
    """No target of a route could be connected to. The reason is that of the last attempt."""


class ConfigurationError(SmartProxyError):
    """A configuration is not valid.

    :ivar problems: one line each, ready to print: ``FILE:LINE: key.path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
