"""Seconds of rounds: `model/clock` and the clocks of named servers under their public name."""

from jaxsched.model.clock import FittedBox, LinearClock
from jaxsched.servers.named import PRESET_KV_CAPACITY, PRESETS

__all__ = [
    "PRESETS",
    "PRESET_KV_CAPACITY",
    "FittedBox",
    "LinearClock",
]
