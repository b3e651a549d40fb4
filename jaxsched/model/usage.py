"""Tokens held over time, as pieces that are linear in the round (host, int64)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxsched.model.instance import Instance


class Events(NamedTuple):
    """The starts and completions of each instance in order of time.

    Attributes:
      time: int64 ``[.., 2n]`` rounds, ascending.
      order: int64 ``[.., 2n]``; below n the start of that request, from n on the completion of
        request ``order - n``.
    """

    time: np.ndarray
    order: np.ndarray

    def running_total(self, at_start: np.ndarray, at_completion: np.ndarray) -> np.ndarray:
        """Sum of the changes ``[.., n]`` made by this and all earlier events, ``[.., 2n]``."""
        changes = np.concatenate([at_start, at_completion], axis=-1)
        return np.cumsum(np.take_along_axis(changes, self.order, axis=-1), axis=-1)


def events_in_order(start: Any, completion: Any) -> Events:
    """Sort starts and completions ``[.., n]`` by time."""
    times = np.concatenate([start, completion], axis=-1).astype(np.int64)
    order = np.argsort(times, axis=-1, kind="stable")
    return Events(np.take_along_axis(times, order, axis=-1), order)


class UsagePieces(NamedTuple):
    r"""Rounds ``begin + 1 .. end`` hold ``base + slope * round`` tokens.

    Between two starts or completions the active set :math:`S` does not change, so round
    :math:`t` holds :math:`\sum_{i \in S} (s_i - p_i) + |S|\,t`. Each field is int64
    ``[.., 2n]`` in order of time; pieces with ``begin == end`` contain no round.
    """

    begin: np.ndarray
    end: np.ndarray
    base: np.ndarray
    slope: np.ndarray

    @property
    def tokens_at_end(self) -> np.ndarray:
        """Tokens held in the last round of each piece, its most; 0 for a piece of no rounds."""
        return np.where(self.end > self.begin, self.base + self.slope * self.end, 0)


def usage_pieces(
    inst: Instance, start: Any, completion: Any, events: Events | None = None
) -> UsagePieces:
    """Cut memory use at every start and completion; padding holds nothing.

    Args:
      inst: the instance, ``[.., n]``.
      start: rounds ``[.., n]``.
      completion: rounds ``[.., n]``.
      events: :func:`events_in_order` of them, where the caller has it already.
    """
    events = events_in_order(start, completion) if events is None else events
    offset = np.asarray(inst.prompt_tokens, np.int64) - np.asarray(start, np.int64)
    offset = np.where(inst.is_real, offset, 0)
    count = np.asarray(inst.is_real, np.int64)

    begin = events.time
    end = np.concatenate([begin[..., 1:], begin[..., -1:]], axis=-1)
    base = events.running_total(offset, -offset)
    return UsagePieces(begin, end, base, slope=events.running_total(count, -count))
