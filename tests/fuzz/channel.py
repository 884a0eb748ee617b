"""The fuzz target of the TLS channel: whatever a peer sends in place of a handshake, or within and after one."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from OpenSSL import SSL
from OpenSSL._util import lib

from smartproxy.errors import TlsError
from smartproxy.model.plan import TerminationPlan
from smartproxy.tls.certificate import Certificate
from smartproxy.tls.channel import PLAIN, PLAIN_VIEW, Channel
from smartproxy.tls.context_factory import server_context
from tests.fuzz.verdicts import check_message
from tests.tls import talk
from tests.tls.made import Authority

_FLIGHTS = 8
#: How the first byte of an input chooses: the version, and whether a client takes part.
_TLS_1_2, _NO_CLIENT = 0x01, 0x02
_EDIT = 4  # bytes of one change: offset (2), how, value


@cache
def _contexts():
    leaf = Authority().leaf("a.example")
    server = server_context(TerminationPlan(alpn=("h2", "http/1.1")), Certificate(leaf.plan()))
    clients = [talk.client_context(alpn=(b"h2",), most=most) for most in (0, SSL.TLS1_2_VERSION)]
    return server, clients


def check_channel(data):
    """Input: how (1 byte), how many changes to the client's bytes (1 byte), the changes, then bytes sent at the end."""
    how, count = (*data[:2], 0, 0)[:2]
    count %= 8
    edits = [data[at : at + _EDIT] for at in range(2, 2 + count * _EDIT, _EDIT)]
    raw = data[2 + count * _EDIT :]
    return _converse(how, edits, raw)


def _check_bystander(version):
    """Assert that nothing is left in OpenSSL's queue of errors, and that no other connection is failed by it."""
    assert not lib.ERR_get_error(), "an error is left in OpenSSL's queue"
    connecting, channel = _established(version)
    assert channel.read() == 0
    connecting.send(b"more")
    came = connecting.bio_read(1 << 16)
    assert PLAIN_VIEW[: channel.decrypt(came)] == b"more"
    assert not channel.ended


@cache
def _established(version):
    server, clients = _contexts()
    connecting, accepting = talk.client(context=clients[version]), SSL.Connection(server, None)
    accepting.set_accept_state()
    talk.shake(connecting, accepting)
    return connecting, Channel(accepting)


def _converse(how, edits, raw):
    """A client that the network tampers with, against the channel. Returns how many bytes the channel accepted."""
    server, clients = _contexts()
    connecting = talk.client(context=clients[how & _TLS_1_2])
    accepting = SSL.Connection(server, None)
    accepting.set_accept_state()
    channel = Channel(accepting)
    honest = not edits and not raw and not how & _NO_CLIENT
    sent = 0
    failed = False
    for flight in range(_FLIGHTS):
        came = b"" if how & _NO_CLIENT else _flight(connecting, flight)
        came = _changed(came, sent, edits)
        sent += len(came)
        if _receive(channel, came + (raw if flight in {1, _FLIGHTS - 1} else b"")):
            failed = True
            _check_bystander(how & _TLS_1_2)
        if output := channel.take_output():
            connecting.bio_write(output)
    if honest:
        assert not failed, "an honest client was refused"
        assert channel.ended, "an honest client's close_notify was not seen"
        assert channel.version == ("TLSv1.2" if how & _TLS_1_2 else "TLSv1.3")
    _end(channel)
    return sent


def _flight(connecting, number):
    """What a client sends next: its handshake, then some data, then its close_notify."""
    with suppress(SSL.Error):
        connecting.do_handshake()
        connecting.send(b"GET / HTTP/1.1\r\n\r\n")
        if number == _FLIGHTS - 1:
            connecting.shutdown()
    with suppress(SSL.Error):
        return connecting.bio_read(1 << 16)
    return b""


def _changed(came, begin, edits):
    """``came``, which begins at offset ``begin`` of the client's bytes, with the changes that are within it."""
    changed = bytearray(came)
    for edit in edits:
        if len(edit) < _EDIT:
            continue
        at = int.from_bytes(edit[:2], "big") - begin
        if not 0 <= at < len(changed):
            continue
        if edit[2] % 3 == 0:
            changed[at] ^= edit[3]
        elif edit[2] % 3 == 1:
            changed[at:at] = edit[3:]
        else:
            del changed[at : at + 1 + edit[3]]
    return bytes(changed)


def _receive(channel, came):
    """Give ``came`` to the channel as the relay does. Returns whether it was refused."""
    try:
        if channel.handshake():
            got = channel.decrypt(came)
        else:
            channel.feed(came)
            got = channel.read() if channel.handshake() else 0
        assert 0 <= got <= PLAIN
    except TlsError as error:
        check_message(str(error))
        return True
    return False


def _end(channel):
    """After any failure an end may still be asked for, and data be written."""
    with suppress(TlsError):
        channel.encrypt(b"x")
    with suppress(TlsError):
        channel.read()
    channel.say_end()
    channel.take_output()
