"""Weighted sums of features, and the hand-set weights that serving engines use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import InputError
from jaxsched._lib.pytree import pytree, static
from jaxsched.model.instance import Instance
from jaxsched.policies.features import features as describe
from jaxsched.policies.features import require_known

DEFAULT_FEATURES = ("log_prompt", "log_output", "log_total")


@pytree
class LinearScore:
    """A weighted sum of features; made by :func:`linear_score`.

    Attributes:
      weights: float32 ``[F]``.
      features: F names; static.
    """

    weights: jax.Array
    features: tuple[str, ...] = static()

    def __call__(self, inst: Instance) -> jax.Array:
        """Priorities ``[n]`` of one instance."""
        # A sum of products, not a matrix product, whose rounding would depend on the batch.
        return jnp.sum(describe(self.features, inst) * self.weights[None, :], axis=-1)


def linear_score(features: Sequence[str] = DEFAULT_FEATURES, weights: Any = None) -> LinearScore:
    r"""Order by a weighted sum of features.

    .. math:: z_i = \sum_k w_k x_{ik}

    Args:
      features: F names from :mod:`jaxsched.policies.features`.
      weights: F finite numbers; zeros by default, which serve in the order of the rows.

    Returns:
      A rule whose ``weights`` are parameters.

    Raises:
      ValueError: a feature is unknown or named twice, or the weights do not fit.

    Example:
      >>> import jaxsched as js
      >>> rule = js.policies.make("linear_score", features=["log_output"], weights=[2.0])
      >>> inst = js.Instance.from_lengths([3, 1], [1, 4], kv_capacity=8)
      >>> [round(z, 3) for z in js.prioritize(inst, rule).tolist()]
      [0.0, 2.773]
    """
    names = require_known(features)
    try:
        given = np.zeros(len(names)) if weights is None else np.asarray(weights, np.float32)
    except (TypeError, ValueError):  # text, or rows of several lengths
        given = np.zeros(0)
    if given.shape != (len(names),) or not np.isfinite(given).all():
        raise InputError(
            "weights",
            weights,
            f"expected {len(names)} finite numbers, one for each of {', '.join(names)}",
        )
    return LinearScore(weights=jnp.asarray(given, jnp.float32), features=names)


def aged_shortest_first(aging: float = 1.0) -> LinearScore:
    r"""Shortest output first, less so the longer a request has waited.

    .. math:: z_i = \ln o_i + \alpha\, i / n

    A backlog waits as a whole, so the row number stands for the time of arrival.

    Args:
      aging: :math:`\alpha`; 0 is ``shortest_output``, large values approach ``fcfs``.

    Returns:
      The rule, a :class:`LinearScore` to tune or use as it is.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([1, 1], [8, 4], kv_capacity=9)
      >>> [round(z, 2) for z in js.policies.aged_shortest_first(2.0)(inst).tolist()]
      [2.08, 2.39]
    """
    return linear_score(("log_output", "row_share"), (1.0, aging))


def length_weighted(prompt: float = 1.0, output: float = 2.0) -> LinearScore:
    r"""Fewest weighted tokens first, :math:`z_i = (w_p s_i + w_o o_i) / M`.

    Args:
      prompt: weight of a prompt token.
      output: weight of an output token.

    Returns:
      The rule, a :class:`LinearScore` to tune or use as it is.

    Source:
      Costs that weigh input and output tokens: Sheng, Cao, Li, Zhu, Li, Zhuo, Gonzalez, Stoica,
      *Fairness in Serving Large Language Models*, 2024, arXiv:2401.00588; the order and these
      weights are ours.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([2, 4], [2, 3], kv_capacity=8)
      >>> js.policies.length_weighted()(inst).tolist()
      [0.75, 1.25]
    """
    return linear_score(("prompt_share", "output_share"), (prompt, output))
