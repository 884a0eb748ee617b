"""A whole proxy: the service, its listeners, its long-lived parts, and changes of its configuration."""
