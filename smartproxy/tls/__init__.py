"""TLS ended and begun here: certificates, contexts, and the channel that the bytes go through."""
