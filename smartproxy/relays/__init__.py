"""Three ways to move bytes behind one interface, :class:`~smartproxy.relays.interfaces.IRelay`.

``transport`` works on any reactor: each side's transport is the other's producer and consumer. ``splice`` is for plain
sockets on Linux: the bytes stay in the kernel. ``tls`` is for such sockets where TLS is terminated on one of them, or on
both. The record of a connection says which one it has.
"""
