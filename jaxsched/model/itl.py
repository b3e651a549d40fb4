"""How times between tokens are counted: the edges of one histogram that all engines fill."""

from __future__ import annotations

import numpy as np

_SHORTEST_S, _LONGEST_S = 1e-5, 1e4
_BUCKETS_A_DECADE = 256
_NUM_DECADES = 9

#: Edges in seconds, ascending, ``[K + 1]``. Bucket k counts ``edge[k] <= gap < edge[k + 1]``; the
#: first one also what is shorter, the last one what is longer. Neighbors differ by 0.9%.
ITL_EDGES_S = np.geomspace(_SHORTEST_S, _LONGEST_S, _BUCKETS_A_DECADE * _NUM_DECADES + 1)
ITL_EDGES_S.setflags(write=False)


def itl_buckets(gaps_s: np.ndarray) -> np.ndarray:
    """Find the bucket of each time between tokens.

    Args:
      gaps_s: float64 seconds, of any shape.

    Returns:
      int64 of the same shape, 0 to K - 1.

    Example:
      >>> from jaxsched.model.itl import itl_buckets
      >>> itl_buckets([0.0, 1e-5, 1.0, 1e9]).tolist()
      [0, 0, 1280, 2303]
    """
    bucket = np.searchsorted(ITL_EDGES_S, gaps_s, side="right") - 1
    return np.clip(bucket, 0, ITL_EDGES_S.size - 2)
