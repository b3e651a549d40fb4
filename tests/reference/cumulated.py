"""Where a cumulated rate reaches an area, by numbers alone: quadrature and bisection.

A level is a plain function of seconds that is smooth between its breaks. Nothing is inverted by a
formula.
"""

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def area(level, breaks, time_s):
    """Integrate a level from 0 to each time, smooth piece by smooth piece.

    Args:
      level: a function of seconds.
      breaks: ascending seconds from 0 on, between which the level is smooth and hardly bends.
      time_s: seconds before the last break, ``[n]``.
    """

    def pieces(begin, end):
        middle, half = (begin + end) / 2, (end - begin) / 2
        return half * (level(middle[:, None] + half[:, None] * _NODES) @ _WEIGHTS)

    before = np.append(0, np.cumsum(pieces(breaks[:-1], breaks[1:])))
    place = np.searchsorted(breaks, time_s, side="right") - 1
    return before[place] + pieces(breaks[place], time_s)


def time_at(level, breaks, areas):
    """Find the second at which each area is reached, by halving the time up to the last break."""
    low, high = np.zeros(len(areas)), np.full(len(areas), breaks[-1] * (1 - 1e-12))
    for _ in range(64):
        middle = (low + high) / 2
        is_low = area(level, breaks, middle) < areas
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return (low + high) / 2
