"""The TLS handshake of a channel over a side, with clients and with targets, within a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DeadlineExpired, HandshakeFailed, PeerClosed, TlsError

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.tls.channel import Channel


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
                channel.feed(held, len(held))
            done = channel.handshake()
            if done and not channel.is_awaited:
                return
            side.transport.write(channel.take_output())
            if done:
                return
            await side.wait_for(1)
    except TlsError as failed:
        side.transport.write(channel.take_output())
        raise HandshakeFailed(str(failed)) from failed
    except DeadlineExpired:
        raise HandshakeFailed("the handshake took too long", alert_sent=False, timed_out=True) from None
    except PeerClosed:
        raise HandshakeFailed("the peer disconnected during the handshake", alert_sent=False) from None
    finally:
        if due is not None:
            due.cancel()
