"""A small network on the features of a request."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxsched._lib.errors import integer
from jaxsched._lib.pytree import pytree, static
from jaxsched.model.instance import Instance
from jaxsched.policies.features import features as describe
from jaxsched.policies.features import require_known
from jaxsched.policies.scores.linear_score import DEFAULT_FEATURES

_MOST_HIDDEN = 2**16


@pytree
class MLPScore:
    """One hidden layer; made by :func:`mlp_score`.

    Attributes:
      hidden_weights: float32 ``[F, H]``.
      hidden_bias: float32 ``[H]``.
      weights: float32 ``[H]``.
      features: F names; static.
    """

    hidden_weights: jax.Array
    hidden_bias: jax.Array
    weights: jax.Array
    features: tuple[str, ...] = static()

    def __call__(self, inst: Instance) -> jax.Array:
        """Priorities ``[n]`` of one instance."""
        inputs = describe(self.features, inst)[:, :, None] * self.hidden_weights[None]
        hidden = jax.nn.relu(jnp.sum(inputs, axis=1) + self.hidden_bias[None, :])
        return jnp.sum(hidden * self.weights[None, :], axis=-1)


def mlp_score(
    features: Sequence[str] = DEFAULT_FEATURES, hidden: int = 16, seed: int = 0
) -> MLPScore:
    r"""Order by a small network of features.

    .. math:: z_i = w^\top \max(0, W^\top x_i + b)

    At the start the weights are normal draws, and every hidden unit bends near a request with
    128 prompt and 128 output tokens, so that requests fall on both sides.

    Args:
      features: F names from :mod:`jaxsched.policies.features`.
      hidden: width H of the hidden layer.
      seed: of the random weights.

    Returns:
      A rule whose weights and bias are parameters.

    Raises:
      ValueError: a feature is unknown or named twice, or ``hidden`` is
        not an integer from 1 to 2^16.

    Example:
      >>> import jaxsched as js
      >>> inst = js.Instance.from_lengths([3, 1], [1, 4], kv_capacity=8)
      >>> js.prioritize(inst, js.policies.make("mlp_score", hidden=4)).shape
      (2,)
    """
    names = require_known(features)
    hidden = integer("hidden", hidden, 1, _MOST_HIDDEN)
    inner, bias, outer = jax.random.split(jax.random.key(seed), 3)
    scale = jnp.float32(len(names) ** -0.5)
    hidden_weights = scale * jax.random.normal(inner, (len(names), hidden), jnp.float32)
    typical = describe(names, Instance.from_lengths([128], [128], kv_capacity=16492))[0]
    return MLPScore(
        hidden_weights=hidden_weights,
        hidden_bias=jax.random.normal(bias, (hidden,), jnp.float32)
        - jnp.sum(typical[:, None] * hidden_weights, axis=0),
        weights=jnp.float32(hidden**-0.5) * jax.random.normal(outer, (hidden,), jnp.float32),
        features=names,
    )
