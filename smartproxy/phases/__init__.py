"""The steps of a connection's path. They do not import each other; only ``session`` knows their order.

Each is an object made by :mod:`smartproxy.proxy.assembly` with what it needs, and called with the facts known so far. A
phase that may have to wait is ``async``; one that finds a reason to refuse the connection raises
:class:`~smartproxy.errors.Refused`.
"""
