"""Tokens held over time, as pieces that are linear in the round (host, int64)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jaxsched.instance import Instance
from jaxsched.schedule import Schedule


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


def usage_pieces(inst: Instance, sched: Schedule) -> UsagePieces:
    """Cut a schedule's memory use at every start and completion; padding holds nothing."""
    real = np.asarray(inst.is_real)
    start = np.asarray(sched.start, np.int64)
    completion = np.asarray(sched.completion, np.int64)
    offset = np.where(real, np.asarray(inst.prompt_tokens, np.int64) - start, 0)
    count = real.astype(np.int64)

    times = np.concatenate([start, completion], axis=-1)
    order = np.argsort(times, axis=-1, kind="stable")

    def running_total(change: np.ndarray) -> np.ndarray:
        changes = np.concatenate([change, -change], axis=-1)
        return np.cumsum(np.take_along_axis(changes, order, axis=-1), axis=-1)

    begin = np.take_along_axis(times, order, axis=-1)
    end = np.concatenate([begin[..., 1:], begin[..., -1:]], axis=-1)
    return UsagePieces(begin, end, running_total(offset), running_total(count))
