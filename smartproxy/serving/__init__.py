"""Routes served by code of this process instead of a target: by a Twisted protocol, or by a coroutine."""
