"""The TLS handshake of a channel over a side, for clients and targets alike, within a deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartproxy.errors import DeadlineExpired, HandshakeFailed, PeerClosed, TlsError

if TYPE_CHECKING:
    from smartproxy.flow.deadline import Deadlines
    from smartproxy.flow.side import Side
    from smartproxy.tls.channel import Channel


async def handshake(side: Side, channel: Channel, deadlines: Deadlines, seconds: float) -> None:
    """Make the handshake of ``channel`` over ``side``, whose held bytes are its first.

    What the peer does not wait for is left in the channel, for the first record to take along: a system call less,
    and a packet. That is a client's Finished, and the tickets of a server in TLS 1.3.

    :raises HandshakeFailed: where it fails or takes too long; the alert has been sent.
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
        raise HandshakeFailed("the handshake took too long", told=False) from None
    except PeerClosed:
        raise HandshakeFailed("the peer left in the handshake", told=False) from None
    finally:
        if due is not None:
            due.cancel()
