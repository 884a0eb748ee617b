"""Connections to targets: which target, which address, the connection to it, its TLS and its PROXY header."""
