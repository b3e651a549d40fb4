"""Where something first holds: points tried in batches, ever closer to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: The metrics of each stream ``[B]`` by name, at one point.
Measures = dict[str, np.ndarray]


class ServiceCurve(NamedTuple):
    """Every metric of each stream, at all points tried.

    Attributes:
      at: rates, servers or KV tokens, ``[K]``, ascending.
      metrics: ``metrics[name]`` is ``[K, B]``, see :func:`jaxsched.metrics.service_summary`.
    """

    at: np.ndarray
    metrics: dict[str, np.ndarray]

    def place_of(self, point: float) -> int | None:
        """Place of a point that was tried, or None."""
        (places,) = np.nonzero(self.at == point)
        return int(places[0]) if places.size else None


def search(
    evaluate: Callable[[Sequence[float]], list[Measures]],
    first: Sequence[float],
    is_crossed: Callable[[Measures], bool],
    divide: Callable[[float, float], Sequence[float]],
    extend: Callable[[float], Sequence[float]],
) -> ServiceCurve:
    """Try points, and then others between the first that is crossed and the one before it.

    Args:
      evaluate: the measures at each of some points.
      first: the points to begin with, ascending.
      is_crossed: whether a point lies beyond what is looked for.
      divide: points strictly between the last that is not crossed and the first that is; none
        where these are close enough.
      extend: points beyond the last, where none is crossed; none at the limit.

    Returns:
      The curve of all points tried.
    """
    tried: dict[float, Measures] = {}
    points = list(first)
    while points:
        tried |= zip(points, evaluate(points), strict=True)
        at = sorted(tried)
        place = next((k for k, point in enumerate(at) if is_crossed(tried[point])), None)
        if place is None:
            points = list(extend(at[-1]))
        else:
            points = list(divide(at[place - 1], at[place])) if place else []
    names = next(iter(tried.values()))
    return ServiceCurve(
        np.asarray(at), {name: np.stack([tried[point][name] for point in at]) for name in names}
    )


def merged(curve: ServiceCurve, other: ServiceCurve) -> ServiceCurve:
    """Put the points of two curves in one, each once."""
    at, places = np.unique(np.concatenate([curve.at, other.at]), return_index=True)
    metrics = {
        name: np.concatenate([values, other.metrics[name]])[places]
        for name, values in curve.metrics.items()
    }
    return ServiceCurve(at, metrics)


def first_true(flags: np.ndarray) -> int | None:
    """Place of the first flag that holds, or None."""
    (places,) = np.nonzero(flags)
    return int(places[0]) if places.size else None
