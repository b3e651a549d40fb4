"""Recorded runs of a server: their columns, and an independent judge of them."""
