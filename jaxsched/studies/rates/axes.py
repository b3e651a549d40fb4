"""What is looked for: a rate, a number of servers or a KV capacity, and how it is tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import jax
import numpy as np

from jaxsched._lib.chunks import filled
from jaxsched._lib.errors import MAX_INT32, InputError
from jaxsched.metrics import service_summary
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server
from jaxsched.policies import rule_name, serve
from jaxsched.studies.rates.searching import Measures
from jaxsched.studies.rates.streams import at_rates, dealt, gathered, own_rate

_POINTS_A_CALL = 8  # so that all calls have one shape
_FIRST_STEP, _STEPS_DOWN = 4.0, 5  # the first rates are from 4^-5 times the streams' own
_FIRST_SERVERS, _MOST_SERVERS = (1, 2, 4), 1024


class Axis(Protocol):
    """What :func:`~jaxsched.studies.rates.planning.planned` looks for.

    Attributes:
      quantity: what it is called.
      unit: what it is counted in.
      is_falling: whether attainment falls as it grows, so that the most is looked for and not
        the least.
      is_whole: whether it is counted in whole numbers, too few for an interval.
    """

    quantity: ClassVar[str]
    unit: ClassVar[str]
    is_falling: ClassVar[bool]
    is_whole: ClassVar[bool]

    def first(self) -> Sequence[float]:
        """Points to begin with."""
        ...

    def divide(self, below: float, above: float) -> Sequence[float]:
        """Points between two; none where they are close enough."""
        ...

    def extend(self, last: float) -> Sequence[float]:
        """Points beyond the last; none at the limit."""
        ...

    def evaluate(self, server: Server, rule: Any, points: Sequence[float]) -> list[Measures]:
        """Measure the service at each of some points."""
        ...


@dataclasses.dataclass(frozen=True)
class Rates:
    """Requests a second, in batches of 8; twice as many at a time where all hold."""

    reqs: Requests
    targets: dict[str, Any]
    tolerance: float
    quantity: ClassVar[str] = "rate"
    unit: ClassVar[str] = "req/s"
    is_falling: ClassVar[bool] = True
    is_whole: ClassVar[bool] = False

    def first(self) -> Sequence[float]:
        """Quarter and quadruple the mean of the streams' own rates."""
        powers = np.arange(_POINTS_A_CALL) - _STEPS_DOWN
        return (own_rate(self.reqs).mean() * _FIRST_STEP**powers).tolist()

    def divide(self, below: float, above: float) -> Sequence[float]:
        """Cut the gap into nine of equal ratio, unless it is within the tolerance."""
        if above <= below * (1 + self.tolerance):
            return []
        return np.geomspace(below, above, _POINTS_A_CALL + 2)[1:-1].tolist()

    def extend(self, last: float) -> Sequence[float]:
        """Go on to 2, 4, .., 256 times the highest of the first, which is the limit."""
        if last > max(self.first()):
            return []
        return [last * 2.0**power for power in range(1, _POINTS_A_CALL + 1)]

    def evaluate(self, server: Server, rule: Any, points: Sequence[float]) -> list[Measures]:
        """Serve the same draws at all of these rates in one call."""
        reqs = at_rates(self.reqs, points)
        out = _served(reqs, server, rule)
        return _by_point(service_summary(reqs, out, server=server, **self.targets), points)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Tokens of KV cache, in batches of 8 capacities."""

    reqs: Requests
    targets: dict[str, Any]
    tolerance: float
    quantity: ClassVar[str] = "kv_capacity"
    unit: ClassVar[str] = "KV tokens"
    is_falling: ClassVar[bool] = False
    is_whole: ClassVar[bool] = False

    def first(self) -> Sequence[float]:
        """Go from the smallest request alone to all requests of a stream at once."""
        size = self.reqs.prompt_tokens.astype(np.int64) + self.reqs.output_tokens
        least = int(size[self.reqs.is_real].min())
        most = int(np.where(self.reqs.is_real, size, 0).sum(axis=-1).max())
        return _whole(np.geomspace(least, min(most, MAX_INT32), _POINTS_A_CALL))

    def divide(self, below: float, above: float) -> Sequence[float]:
        """Cut the gap into nine of equal ratio, unless it is within the tolerance."""
        if above - below <= max(1, self.tolerance * below):
            return []
        cuts = np.geomspace(below, above, _POINTS_A_CALL + 2)[1:-1]
        return _whole(np.clip(np.rint(cuts), below + 1, above - 1))

    def extend(self, last: float) -> Sequence[float]:
        """Stop: more than all requests at once holds no more."""
        del last
        return []

    def evaluate(self, server: Server, rule: Any, points: Sequence[float]) -> list[Measures]:
        """Serve the same streams with all of these capacities in one call."""
        full = np.resize(np.asarray(points, np.int64), _POINTS_A_CALL)
        server = dataclasses.replace(server, kv_capacity=full[:, None])
        out = _served(self.reqs, server, rule)
        return _by_point(service_summary(self.reqs, out, server=server, **self.targets), points)


@dataclasses.dataclass(frozen=True)
class Servers:
    """Equal servers that take the requests in turn."""

    reqs: Requests
    targets: dict[str, Any]
    quantity: ClassVar[str] = "servers"
    unit: ClassVar[str] = "servers"
    is_falling: ClassVar[bool] = False
    is_whole: ClassVar[bool] = True

    def first(self) -> Sequence[float]:
        """Begin with 1, 2 and 4."""
        return [count for count in _FIRST_SERVERS if count <= self._most] or [1]

    def divide(self, below: float, above: float) -> Sequence[float]:
        """Bisect."""
        return [int(below + above) // 2] if above - below > 1 else []

    def extend(self, last: float) -> Sequence[float]:
        """Double, until every request has a server of its own."""
        return [min(2 * int(last), self._most)] if last < self._most else []

    def evaluate(self, server: Server, rule: Any, points: Sequence[float]) -> list[Measures]:
        """Serve each stream on so many servers, and measure all its requests together."""
        counts = [int(point) for point in points]
        parts = [dealt(self.reqs, count) for count in counts]
        rows = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        most = _POINTS_A_CALL * len(self.reqs)

        def call(begin: int) -> Outcome:
            block = jax.tree.map(lambda leaf: filled(leaf, most), rows[begin : begin + most])
            return _served(block, server, rule)

        outcomes = [call(begin) for begin in range(0, len(rows), most)]
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *outcomes)
        measures, begin = [], 0
        for count in counts:
            end = begin + count * len(self.reqs)
            out = gathered(self.reqs, whole[begin:end], count)
            measures.append(service_summary(self.reqs, out, server=server, **self.targets))
            begin = end
        return measures

    @property
    def _most(self) -> int:
        return min(self.reqs.is_real.shape[-1], _MOST_SERVERS)


def _served(reqs: Requests, server: Server, rule: Any) -> Outcome:
    out = serve(reqs, server, rule)
    if (np.asarray(out.status) == Status.NAN_PRIORITY).any():
        finding = f"gave NaN: {rule_name(rule)}"
        raise InputError("rules", rule, "expected numbers from every rule", finding=finding)
    return out


def _by_point(measures: Measures, points: Sequence[float]) -> list[Measures]:
    """Take measures ``[K, B]`` apart; those of points that fill up a call are left out."""
    return [{name: of_all[k] for name, of_all in measures.items()} for k in range(len(points))]


def _whole(points: np.ndarray) -> list[int]:
    return sorted({int(point) for point in np.rint(points)})
