"""Seconds of rounds: `model/clock` under its public name."""

from jaxsched.model.clock import (
    PRESET_KV_CAPACITY,
    PRESETS,
    LinearClock,
)

__all__ = [
    "PRESETS",
    "PRESET_KV_CAPACITY",
    "LinearClock",
]
