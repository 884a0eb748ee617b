"""Three ways to move bytes behind one interface, :class:`~smartproxy.relays.interfaces.IRelay`.

``transport`` works anywhere: each side's transport is the other's producer and consumer. ``splice`` is for
plain sockets on Linux: the bytes stay in the kernel. ``tls`` is for such sockets
where one, or both, carry TLS that is terminated here. The record of a connection names its relay.
"""
