"""The steps of a connection's path. They do not know each other; ``session`` alone knows their order.

Each is an object made by ``service`` with everything that it needs, and called with the facts so far. A
step that needs to wait is ``async``; one that finds a reason to go no further raises
:class:`~smartproxy.errors.Refused`.
"""
