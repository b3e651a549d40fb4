"""Several objectives of served requests at once."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxsched._lib.errors import InputError
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.tuning.objectives.service import ServiceObjective


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedSum(ServiceObjective):
    """Objectives added up.

    Attributes:
      weights: None; each term has its own.
      terms: factors and objectives.
    """

    terms: tuple[tuple[float, ServiceObjective], ...] = ()

    @property
    def name(self) -> str:
        """What tables call it."""
        return " ".join(
            f"{factor * term.sign:+g} {term.name}" for factor, term in self.terms
        ).removeprefix("+")

    def _of_streams(self, reqs: Requests, out: Outcome) -> Any:
        """Return the sum for each stream."""
        return sum(factor * term._of_streams(reqs, out) for factor, term in self.terms)


def weighted_sum(*terms: tuple[float, ServiceObjective]) -> WeightedSum:
    r"""Several objectives at once, :math:`\sum_k a_k f_k`, smaller is better.

    Factors are of what is to be made better, so that all are above 0: one of goodput is what a
    request a second more is worth.

    Args:
      terms: pairs of a factor > 0 and an objective of served requests.

    Returns:
      The objective.

    Raises:
      ValueError: there are no terms, or a factor is not above 0.

    Example:
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])
      >>> out = js.serve(reqs, js.Server(kv_capacity=160, max_num_batched_tokens=64))
      >>> objectives = js.tuning.objectives
      >>> objective = objectives.weighted_sum(
      ...     (1.0, objectives.attainment(ttft_slo_s=1.6)), (0.1, objectives.p99_e2e()))
      >>> objective.name, round(float(objective(reqs, out)), 3)
      ('-1 attainment +0.1 p99_e2e', -0.22)
    """
    if not terms:
        raise InputError("terms", terms, "give pairs of a factor and an objective")
    for place, pair in enumerate(terms):
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
            raise InputError("terms", pair, "expected a factor and an objective", (place,))
        factor, term = pair
        if not (isinstance(factor, (int, float)) and math.isfinite(factor) and factor > 0):
            raise InputError("terms", factor, "expected a factor > 0", (place,))
        if not isinstance(term, ServiceObjective):
            raise InputError("terms", term, "expected an objective of served requests", (place,))
    return WeightedSum(terms=tuple((float(factor), term) for factor, term in terms))
