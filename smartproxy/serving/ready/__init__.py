r"""Ready-made handlers, which serve the connections of a route in this process.

In a configuration file, by name::

    action: {type: handler, handler: "smartproxy.serving.ready:echo"}

In Python, some with parameters::

    Action(type="handler", handler=respond(b"We are closed.\r\n"))

They are plain coroutine functions, so each is also an example for your own. ``type: respond`` without a status and the modes
of ``type: block`` in a file use them. Those that answer HTTP requests are in :mod:`smartproxy.http.local`.
"""

from __future__ import annotations

from smartproxy.serving.ready.block import block
from smartproxy.serving.ready.plain import discard, echo, respond

__all__ = ["block", "discard", "echo", "respond"]
