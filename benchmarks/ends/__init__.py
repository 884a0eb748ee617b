"""Whether anything of a connection stays behind, however it ends. ``python -m benchmarks.ends`` measures it."""
