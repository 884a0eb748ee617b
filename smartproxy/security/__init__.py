"""Who may come in, and how many: address sets, limits, and a log of refusals that cannot be flooded."""
