r"""Ready-made handlers: what a route may give its connections to in this process.

In a file by their names::

    action: {type: handler, handler: "smartproxy.serving.ready:echo"}

In Python as they are, with what they are to be told::

    Action(type="handler", handler=respond(b"We are closed.\r\n"))

They are coroutine functions and nothing more, so each is also an example for your own. ``type: respond``,
``type: redirect`` and the modes of ``type: block`` in a file are made of these.
"""

from __future__ import annotations

from smartproxy.serving.ready.block import block
from smartproxy.serving.ready.plain import discard, echo, respond
from smartproxy.serving.ready.web import http_redirect, http_respond

__all__ = ["block", "discard", "echo", "http_redirect", "http_respond", "respond"]
