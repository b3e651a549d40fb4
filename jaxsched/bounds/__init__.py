"""Proven lower bounds on the total latency of an instance."""

from jaxsched.bounds._volume import volume

__all__ = ["volume"]
