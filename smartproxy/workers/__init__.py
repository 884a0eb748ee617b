"""Several processes that serve the same listeners: a supervisor, a nursery that forks, and workers."""
