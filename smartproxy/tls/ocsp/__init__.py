"""OCSP stapling: requests to responders, validation of their responses, and what is stapled (RFC 6960, RFC 6066, 8)."""
