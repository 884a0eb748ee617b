"""Four ways to move bytes behind one interface, :class:`~smartproxy.relays.interfaces.IRelay`.

``transport`` works on any reactor: each side's transport is the other's producer and consumer. The others are for sockets of
the poller. ``splice`` is for plain ones: the bytes stay in the kernel. ``copying`` is for plain ones without acceleration.
``tls`` is for those where TLS is terminated on one of them, or on both. The record of a connection says whether it is spliced.
"""
