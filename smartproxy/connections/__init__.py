"""What looks after connections while they live: the registry, where each is opened and closed once."""
