"""The TLS handshake of a channel over a side, with clients and with targets, within a deadline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from OpenSSL import SSL

from smartproxy.errors import DeadlineExpired, HandshakeFailed, PeerClosed, TlsError
from smartproxy.wire import tls_alert
from smartproxy.wire.tls_alert import Alert
from smartproxy.wire.verdict import Done

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.tls.channel import Channel

#: OpenSSL's reason for an alert that was received; some have no "alert" in it.
_RECEIVED = re.compile(r"(?:sslv3|tlsv1|tlsv13|ssl/tls)(?: alert)? (.+)")
#: OpenSSL's reason for a client without a certificate (SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE).
_NO_CERTIFICATE = "peer did not return a certificate"
#: OpenSSL's alerts for the errors of X509_verify_cert that occur (``ssl_x509err2alert``).
_OF_CERTIFICATES = {
    1: Alert.INTERNAL_ERROR,  # X509_V_ERR_UNSPECIFIED, which pyOpenSSL does not name
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_SELF_SIGNED_CERT_IN_CHAIN: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_UNABLE_TO_GET_CRL: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_INVALID_CA: Alert.UNKNOWN_CA,
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: Alert.BAD_CERTIFICATE,
    SSL.X509VerificationCodes.ERR_CRL_NOT_YET_VALID: Alert.BAD_CERTIFICATE,
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: Alert.CERTIFICATE_EXPIRED,
    SSL.X509VerificationCodes.ERR_CRL_HAS_EXPIRED: Alert.CERTIFICATE_EXPIRED,
    SSL.X509VerificationCodes.ERR_CERT_REVOKED: Alert.CERTIFICATE_REVOKED,
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: Alert.UNSUPPORTED_CERTIFICATE,
    SSL.X509VerificationCodes.ERR_CERT_SIGNATURE_FAILURE: Alert.DECRYPT_ERROR,
}


async def handshake(side: Side, channel: Channel, deadlines: Deadlines, seconds: float) -> None:
    """Complete the handshake of ``channel`` over ``side``, beginning with the bytes that ``side`` has buffered.

    Final messages that the peer does not wait for stay in the channel and are sent with the first record, which saves
    a system call and a packet. These are a client's Finished and a server's tickets in TLS 1.3.

    :param seconds: deadline; 0 for none.
    :raises HandshakeFailed: if it fails or takes too long; an alert has been sent where there is one.
    """
    due = deadlines.call_later(seconds, side.expire) if seconds else None
    try:
        while True:
            held = side.consume()
            if held:
                channel.feed(held)
            done = channel.handshake()
            if done and not channel.is_awaited:
                return
            side.transport.write(channel.take_output())
            if done:
                return
            await side.wait_for(1)
    except TlsError as failed:
        output = channel.take_output()
        side.transport.write(output)
        raise _failure(str(failed), output, channel) from failed
    except DeadlineExpired:
        why = f"the handshake took too long (tlsHandshakeTimeout {seconds:g} s)"
        raise HandshakeFailed(why, alert_sent=False, timed_out=True) from None
    except PeerClosed:
        why = "the peer disconnected during the handshake"
        raise HandshakeFailed(why, alert_sent=False, by_peer=True) from None
    finally:
        if due is not None:
            due.cancel()


def _failure(why: str, output: bytes, channel: Channel) -> HandshakeFailed:
    """The failure of a handshake, with the alert that was received or sent.

    :param why: OpenSSL's text.
    :param output: what was sent last.
    """
    for reason in why.split("; "):
        received = _RECEIVED.fullmatch(reason)
        name = received[1].replace(" ", "_").upper() if received is not None else ""
        if name in Alert.__members__:
            return HandshakeFailed(f"{why}; received {tls_alert.in_words(Alert[name])}", by_peer=True)
    alert = tls_alert.parse(output[-tls_alert.SIZE :])
    sent = alert.value.description if isinstance(alert, Done) else _encrypted(why, channel)
    return HandshakeFailed(f"{why}; sent {tls_alert.in_words(sent)}" if output and sent is not None else why)


def _encrypted(why: str, channel: Channel) -> Alert | None:
    """The alert of a failure after the keys were negotiated: of TLS 1.3, about the peer's certificate."""
    if _NO_CERTIFICATE in why:
        return Alert.CERTIFICATE_REQUIRED
    return _OF_CERTIFICATES.get(channel.verify_error)
