"""Every exception class of smartproxy, in one tree.

::

    SmartProxyError
    |-- Refused                        a connection is refused; carries the RejectReason that it is counted under
    |   |-- HandshakeFailed            TLS could not be negotiated
    |   |-- HandshakeRefused           TLS is refused before it is started
    |   |-- NotTls                     something other than a ClientHello where TLS is due
    |   |-- Misdirected                Host and SNI require different client certificates
    |   `-- DialFailed                 no target could be connected to
    |       |-- DialAbandoned          another target is tried before this one has answered
    |       |-- LocalShortage          this process has no descriptor, port or memory for it
    |       |-- ResumptionFailed       a target failed the handshake that offered it a session
    |       |-- NameNotServed          its TLS failed for the name that the client has asked for
    |       `-- NameNotResolved        its name has no address
    |-- Completed                      a phase has served the connection to its end
    |-- PeerClosed, DeadlineExpired    a peer has not sent enough: it ended its direction, or its time is up
    |-- ConnectionTruncated            a TLS peer closed without close_notify
    |-- TlsError                       the peer violated TLS, or ended it with an alert
    |-- TlsConnectionLost              a connection was lost because of that, after its handshake
    |-- ConfigurationError             the problems of a configuration
    |-- ConfigurationSyntaxError       a file is not the YAML, JSON or TOML that its name says
    |-- InvalidCertificate             a certificate, key or revocation list cannot be used
    |   `-- AccessDenied               this user may not read its file
    |-- InvalidContent                 a file whose content is used while it changes cannot be used
    |   |-- InvalidAddressFile         it cannot be read as addresses, or has a line that is none
    |   |-- InvalidErrorPage           it is missing, too large, or may not be read
    |   `-- InvalidTargetsFile         it cannot be read as targets, or has a target that is not valid
    |-- LookupFailed                   the DNS has not answered a question
    |-- OcspRequestImpossible          a certificate cannot be asked about
    |-- OcspResponderUnavailable       a responder has not answered
    |-- InvalidOcspResponse            an OCSP response cannot be used
    |-- AcmeError                      no certificate could be ordered, or another request to an ACME directory failed
    |   `-- DirectoryUnavailable       the directory could not be reached, or failed itself; it may work later
    |-- NotApproved                    a certificate that was ordered on demand may not be renewed
    |-- BodyTooLong                    the body of a request is longer than its handler reads
    |-- CheckFailed                    a target did not pass a check
    |-- UnknownTarget                  there is no such target group, or no such target in it
    |-- AcmeStoreUnusable              the directory of ACME's keys and certificates cannot be read or written
    |-- UnknownCertificate             no certificate in force has this name
    |-- NotAutomatic                   a certificate is not ordered by ACME, so it cannot be renewed
    |-- WorkerFailed                   a worker process, or the one that forks them, has not done what it was asked
    |-- NoWorker                       no worker process can answer the admin API now
    |-- AdminRequestFailed             a command got no usable answer from the admin API
    `-- IllegalTransition              a state machine got an event that its table does not allow: a bug

Some have a second base, so that code which knows nothing of smartproxy handles them as what they are: a
``ValueError``, a ``RuntimeError``, or Twisted's ``ConnectionLost``. ``wire`` raises nothing but ``ValueError``: its parsers return a
:data:`~smartproxy.wire.verdict.Verdict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.error import ConnectionLost

from smartproxy.model.outcome import EndedBy, RejectReason

if TYPE_CHECKING:
    from smartproxy.model.outcome import CloseReason
    from smartproxy.wire.tls_alert import Alert


class SmartProxyError(Exception):
    """Base class of all; never raised itself."""


class Refused(SmartProxyError):
    """A connection is refused.

    :ivar reason: the label that it is counted under.
    :ivar detail: for the logs: one line of plain ASCII.
    :ivar side: the end that ended the connection; ``None``: the one that the reason is due to.
    :raises TypeError: where ``reason`` is no :class:`RejectReason`.
    """

    side: EndedBy | None = None

    def __init__(self, reason: RejectReason, detail: str = "", side: EndedBy | None = None) -> None:
        if not isinstance(reason, RejectReason):
            raise TypeError(f"reason must be a RejectReason, like RejectReason.NO_ROUTE (got {reason!r})")
        super().__init__(reason.value, detail)
        self.reason = reason
        self.detail = detail
        if side is not None:
            self.side = side


class HandshakeFailed(Refused):
    """A TLS handshake with the client failed.

    :ivar alert_sent: whether the client has been sent an alert, and so needs time to read it.
    :ivar timed_out: whether it took too long.
    :param by_peer: whether the peer has ended it, by an alert or by closing its connection.
    """

    def __init__(
        self, detail: str, *, alert_sent: bool = True, timed_out: bool = False, by_peer: bool = False
    ) -> None:
        super().__init__(RejectReason.TLS_ERROR, detail, EndedBy.CLIENT if by_peer else None)
        self.alert_sent = alert_sent
        self.timed_out = timed_out


class HandshakeRefused(Refused):
    """A client's TLS is refused before the handshake is started.

    :ivar alert: the alert to send to the client.
    """

    def __init__(self, detail: str, alert: Alert, side: EndedBy | None = None) -> None:
        super().__init__(RejectReason.TLS_ERROR, detail, side)
        self.alert = alert


class NotTls(Refused):
    """A client sent something other than a ClientHello where TLS is terminated, or all routes of the listener are for TLS."""

    def __init__(self) -> None:
        super().__init__(RejectReason.TLS_ERROR, "plain bytes where TLS was due")


class Misdirected(Refused):
    """A request for a host that requires other client certificates than the name in the ClientHello did (421)."""

    def __init__(self) -> None:
        super().__init__(RejectReason.NO_ROUTE, "Host asks for other client certificates than SNI")


class DialFailed(Refused):
    """No target of a route could be connected to. The reason is that of the last attempt, the detail that of all."""

    side = EndedBy.TARGET


class DialAbandoned(DialFailed):
    """A target has not answered for a while, and another one is tried in its place."""


class LocalShortage(DialFailed):
    """No descriptor, port or memory is left for the connection, or not the address to bind: no fault of a target."""


class ResumptionFailed(DialFailed):
    """A target failed the handshake that offered it a session. It may accept one without."""


class NameNotServed(DialFailed):
    """TLS with a target failed for the name that the client has asked for. The target may serve other names."""


class NameNotResolved(DialFailed):
    """A target's name has no address, or was not resolved in time. The resolver logs it, once for all routes."""


class Completed(SmartProxyError):
    """A phase has served the connection to its end, so that no later phase is due.

    :ivar reason: why it was closed.
    """

    def __init__(self, reason: CloseReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class PeerClosed(SmartProxyError):
    """A peer ended its direction before it had sent enough."""


class DeadlineExpired(SmartProxyError):
    """A peer did not send enough in time."""


class ConnectionTruncated(SmartProxyError, ConnectionLost):
    """A peer closed without the end that its protocol requires: what was received may be incomplete.

    In TLS that end is a close_notify (RFC 8446, 6.1).
    """


class TlsConnectionLost(SmartProxyError, ConnectionLost):
    """The peer violated TLS after the handshake, or ended it with an alert.

    :ivar problem: OpenSSL's text, for a log.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class IllegalTransition(SmartProxyError, RuntimeError):
    """An event that a state does not allow. This indicates a bug in smartproxy."""


class TlsError(SmartProxyError):
    """The peer violated TLS, or ended it with an alert. The text is OpenSSL's, for a log."""


class BodyTooLong(SmartProxyError):
    """The body of a request is longer than the handler that reads it wants. One that does not catch it answers 413."""


class ConfigurationError(SmartProxyError):
    """A configuration is not valid.

    :ivar problems: one line each, ready to print: ``FILE:LINE: key.path: what is wrong``.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class ConfigurationSyntaxError(SmartProxyError):
    """A configuration file cannot be parsed.

    :ivar line: where, counted from 1.
    :ivar message: what is wrong there.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class InvalidCertificate(SmartProxyError, ValueError):
    """A certificate or a key cannot be used. The text says why, and begins with the file where there is one.

    :ivar part: the field of :class:`~smartproxy.tls.certificate_files.CertificateFiles` that is wrong, or empty.
    :ivar valid_from: when it can be used, if it is not valid yet; in seconds since the epoch.
    """

    def __init__(self, why: str, part: str = "", valid_from: float | None = None) -> None:
        super().__init__(why)
        self.part = part
        self.valid_from = valid_from


class AccessDenied(InvalidCertificate):
    """A file that the user of this process may not read. It may have been read before, by root."""


class InvalidContent(SmartProxyError, ValueError):
    """A file whose content is used while it changes cannot be used.

    :ivar problems: one line each, ``FILE:LINE: ...`` where it is about a line.
    :ivar is_denied: whether the user of this process may not read it.
    """

    def __init__(self, problems: list[str], *, is_denied: bool = False) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.is_denied = is_denied


class InvalidAddressFile(InvalidContent):
    """A file with addresses cannot be used."""


class InvalidErrorPage(InvalidContent):
    """A file with an error page cannot be used."""


class InvalidTargetsFile(InvalidContent):
    """A file with targets cannot be used; a problem names the key, as ``FILE:LINE: targets[0].port: ...``."""


class LookupFailed(SmartProxyError):
    """The DNS has not answered a question.

    :ivar is_negative: whether it was answered that there is no such record.
    """

    def __init__(self, why: str, *, is_negative: bool = False) -> None:
        super().__init__(why)
        self.is_negative = is_negative


class OcspRequestImpossible(SmartProxyError, ValueError):
    """A certificate names no OCSP responder, or its issuer is not known. The text says which."""


class OcspResponderUnavailable(SmartProxyError):
    """An OCSP responder gave no answer. The text says why, in one line."""


class InvalidOcspResponse(SmartProxyError, ValueError):
    """An OCSP response cannot be used. The text says why, as the end of a sentence that begins with "the response"."""


#: What an authority answers to a challenge that fails (RFC 8555, 6.7).
_OF_PROOF: Final = frozenset({"connection", "dns", "incorrectResponse", "tls", "unauthorized"})


class AcmeError(SmartProxyError):
    """A request to an ACME directory failed.

    :ivar text: what failed, for which name, what the directory said and what to do: one line of printable ASCII.
    :ivar kind: the last part of ``urn:ietf:params:acme:error:KIND`` (RFC 8555, 6.7); empty if it is not one of these.
    :ivar retry_after: seconds after which the directory wants to be asked again; ``None`` if it has not said so.
    :ivar names: the names that it is about.
    """

    def __init__(
        self, text: str, kind: str = "", *, retry_after: float | None = None, names: tuple[str, ...] = ()
    ) -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind
        self.retry_after = retry_after
        self.names = names

    @property
    def is_of_proof(self) -> bool:
        """Whether control over a name could not be proven: the authority has not found what it looked for."""
        return self.kind in _OF_PROOF


class DirectoryUnavailable(AcmeError):
    """An ACME directory could not be reached, or failed itself (HTTP 5xx). The same request may succeed later."""


class NotApproved(SmartProxyError):
    """A certificate that was ordered on demand may not be renewed."""


class CheckFailed(SmartProxyError):
    """A target did not pass a check.

    :ivar detail: what was found instead: one line of plain ASCII.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class AcmeStoreUnusable(SmartProxyError):
    """The directory in which ACME keeps keys and certificates cannot be used. The text names the file, and says why."""


class UnknownTarget(SmartProxyError, LookupError):
    """There is no such target group, or no such target in it. The text says which, in one line of plain ASCII."""


class UnknownCertificate(SmartProxyError, LookupError):
    """No certificate in force has this name. The text says which name, in one line of plain ASCII."""


class NotAutomatic(SmartProxyError, ValueError):
    """A certificate is not ordered by ACME, so it cannot be renewed here. The text says where it is from, in plain ASCII."""


class WorkerFailed(SmartProxyError):
    """A worker process, or the one that forks them, has not done what it was asked; the text says why."""


class NoWorker(SmartProxyError):
    """No worker process can answer the admin API now: all of them are starting or have ended."""


class AdminRequestFailed(SmartProxyError):
    """A command got no usable answer from the admin API. The message is one line for the terminal.

    :ivar why: what went wrong.
    :ivar hint: what to do about it, or empty.
    :ivar exit_code: of the command.
    """

    def __init__(self, why: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(f"{why}; {hint}" if hint else why)
        self.why = why
        self.hint = hint
        self.exit_code = exit_code
