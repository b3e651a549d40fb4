"""A bound on the compiled programs that a process keeps.

Jax keeps one for every shape that it meets, and each holds a megabyte or more till it is forgotten.
"""

from __future__ import annotations

from typing import Any

import jax

from jaxsched._lib.progress import COMPILED

#: Programs that a process compiles before jax is to forget them all.
MOST_KEPT = 512

_num_kept = 0


def bound_programs() -> None:
    """Have jax forget its programs once there are many; those still in use compile anew.

    What they held is used again by those that follow, so that the memory of a process is bounded
    however many shapes it meets.
    """
    global _num_kept
    if _num_kept > MOST_KEPT:
        jax.clear_caches()
        _num_kept = 0


def _count(event: str, duration_secs: float, **_: Any) -> None:
    global _num_kept
    _num_kept += event == COMPILED


jax.monitoring.register_event_duration_secs_listener(_count)
