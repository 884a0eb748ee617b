"""Code in this process that stands where a target would: a connection given to a protocol, or to a coroutine."""
