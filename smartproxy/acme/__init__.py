"""Automatic certificates by ACME (RFC 8555): the protocol with a directory, and the challenges that prove control over a name."""
