"""Where connections go: which target, which address, and the connection to it."""
