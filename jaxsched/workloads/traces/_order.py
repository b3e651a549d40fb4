"""Whether the rows of a trace are in the order of their arrival."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxsched.workloads.traces._errors import Settled
from jaxsched.workloads.traces._recording import Recording, Trace


class Falls:
    """Watches for rows that arrive before the one above.

    Args:
      recording: where the rows come from.
      is_allowed: whether such a row is noted instead of an error.
    """

    def __init__(self, recording: Recording, is_allowed: bool):
        self._recording, self._is_allowed = recording, is_allowed
        self.is_fallen = False

    def watched(self, traces: Iterator[Trace]) -> Iterator[Trace]:
        """Give the same rows.

        Raises:
          InputError: a row arrives before the one above, and that is not allowed.
        """
        last_s, last_line = -np.inf, np.int64(0)
        for trace in traces:
            if trace.arrived_at is not None and trace.arrived_at.size:
                arrived_at = np.append(last_s, trace.arrived_at)
                line = np.append(last_line, trace.line)
                falls = np.flatnonzero(np.diff(arrived_at) < 0)
                if falls.size and not self._is_allowed:
                    self._refuse(arrived_at[falls[0] :], line[falls[0] :])
                self.is_fallen |= falls.size > 0
                last_s, last_line = arrived_at[-1], line[-1]
            yield trace

    def _refuse(self, arrived_at: np.ndarray, line: np.ndarray) -> None:
        place = self._recording.place
        finding = (
            f"{self._recording.path}: {place} {line[1]}: arrives at {arrived_at[1]:.9g} s, before "
            f"{place} {line[0]} at {arrived_at[0]:.9g} s; "
        )
        raise Settled("sort", "sort=True", finding, "orders rows by arrival")
