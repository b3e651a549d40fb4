"""Clocks fitted to measured times."""
