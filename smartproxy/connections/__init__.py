"""Live connections: the registry that opens and closes each once, timeouts, zombie detection, cleanup."""
