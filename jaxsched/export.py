"""Schedules for other programs: `show/export` under its public name."""

from jaxsched.show.export import (
    chrome_trace,
)

__all__ = [
    "chrome_trace",
]
