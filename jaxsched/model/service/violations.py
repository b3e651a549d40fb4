"""The first thing that is wrong with a recorded run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Violation(NamedTuple):
    """Something wrong: in which step, -1 for none, with which request, -1 for none; a sentence."""

    step: int
    request: int
    sentence: str


def first_of(
    is_wrong: np.ndarray, step: np.ndarray, request: np.ndarray | int, say: Callable[[int], str]
) -> Iterator[Violation]:
    """Give the earliest place where something is wrong, if there is one.

    Args:
      is_wrong: bool ``[places]``.
      step: step of each place.
      request: request of each place, or one for all.
      say: says what is wrong at a place.
    """
    places = np.flatnonzero(is_wrong)
    if places.size:
        at = int(places[np.argmin(step[places])])
        whose = int(np.broadcast_to(request, is_wrong.shape)[at])
        yield Violation(int(step[at]), whose, say(at))


def earliest(violations: Iterable[Violation]) -> Violation | None:
    """Choose the one of the earliest step, the first of equals."""
    return min(violations, key=lambda each: each.step, default=None)
