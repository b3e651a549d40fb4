"""Slow, obvious oracles: plain Python on ints and lists, sharing no code with the package."""
