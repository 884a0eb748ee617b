"""What worker processes cost; see :mod:`benchmarks.workers.__main__`."""
