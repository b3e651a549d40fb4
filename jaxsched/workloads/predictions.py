"""What a predictor would say about output lengths: a pure function of a key."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsched._lib.errors import InputError, choice, reject, wrong_shape
from jaxsched.model.given import require_requests
from jaxsched.model.requests import Requests

Kind = Literal["lognormal", "classes", "interval"]
End = Literal["lower", "upper"]


def predict(
    reqs: Requests,
    key: jax.Array,
    *,
    sigma: Any = 0.0,
    bias: Any = 0.0,
    kind: Kind = "lognormal",
    end: End = "upper",
) -> Requests:
    r"""Give requests predicted output lengths, with errors of a stated size.

    Request :math:`i` of true output :math:`o_i` has standard normal draws :math:`z_i` and
    :math:`w_i` of its own. With spread :math:`\sigma` and bias :math:`\mu`, ``kind`` says

    .. math::
       \text{lognormal: } \hat o_i = o_i\, e^{\mu + \sigma z_i}, \qquad
       \text{classes: } \hat o_i = 2^{\max(0,\, \lceil \log_2 (o_i e^{\mu + \sigma z_i})
       \rceil)}, \qquad
       \text{interval: } \bigl[ o_i e^{\mu - \sigma |z_i|},\; o_i e^{\mu + \sigma |w_i|} \bigr].

    The median of :math:`\hat o_i / o_i` is :math:`e^\mu`, and its mean is
    :math:`e^{\mu + \sigma^2 / 2}`: a bias of :math:`-\sigma^2 / 2` keeps the mean. A class is
    named by its upper end, so without error nobody outlives a prediction. With error, the
    prediction names the class of the log-normal one. An interval without bias holds the truth.

    The draws depend on the key alone. So one key at several ``sigma`` and ``bias`` gives the
    same errors on several scales. Stream i of a batch is the same whatever the batch.

    Args:
      reqs: the requests, ``[n]`` or ``[.., n]``; earlier predictions are not read.
      key: a jax random key; equal keys give equal predictions.
      sigma: :math:`\sigma \ge 0`, one or one a stream ``[..]``; it may be traced.
      bias: :math:`\mu`, likewise.
      kind: the form of the prediction.
      end: which end of an interval rules and admissions see. Equal keys give both ends of the
        same interval; the other kinds have one number and do not read ``end``.

    Returns:
      The requests with ``predicted_output_tokens``, float32 ``[.., n]``. Padding is predicted
      as it is. Predictions may be below 1 and above any cache: :func:`jaxsched.serve` rounds
      up, to 1 token at least. A request that outlives its prediction counts as one that ends
      with its next token.

    Raises:
      ValueError: ``sigma`` is not a finite number >= 0, or ``bias`` not a finite one, or they
        have another shape; or there is no such ``kind`` or ``end``.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0, 0.0, 0.5], [30, 20, 50], [9, 100, 16])
      >>> js.workloads.predict(reqs, jax.random.key(0), kind="classes").predicted_output_tokens
      Array([ 16., 128.,  16.], dtype=float32)

    Source:
      Log-normal errors of 0.3 to 0.8: ours. Intervals, of which one rule trusts the upper end
      and another the lower: our form of Chen, Ye, Zhou, *Adaptively Robust LLM Inference
      Optimization under Prediction Uncertainty*, 2025, arXiv:2508.14544. Classes: our form.
    """
    require_requests(reqs)
    choice("kind", kind, get_args(Kind))
    choice("end", end, get_args(End))
    leading = tuple(reqs.is_real.shape[:-1])
    spread = _one_a_stream("sigma", sigma, leading, least=0.0)
    shift = _one_a_stream("bias", bias, leading, least=-np.inf)
    below, above = _draws(key, reqs)
    error = below
    if kind == "interval":
        error = -jnp.abs(below) if end == "lower" else jnp.abs(above)
    truth = jnp.asarray(reqs.output_tokens).astype(jnp.float32)
    predicted = truth * jnp.exp(shift + spread * error)
    if kind == "classes":
        predicted = _upper_end_of_class(predicted)
    seen = jnp.where(reqs.is_real, predicted, truth)
    return dataclasses.replace(reqs, predicted_output_tokens=seen)


def _one_a_stream(name: str, value: Any, leading: tuple[int, ...], least: float) -> jax.Array:
    """Check a number and give it an axis for the requests, float32 ``[.., 1]``."""
    if not isinstance(value, Tracer):
        expectation = f"expected a finite number{' >= 0' if least == 0 else ''}"
        try:
            given = np.asarray(value)
        except ValueError:  # rows of several lengths
            raise InputError(name, value, expectation) from None
        if given.dtype.kind not in "iuf":
            raise InputError(name, value, expectation)
        value = given.astype(np.float64)
        reject(name, value, ~(np.isfinite(value) & (value >= least)), expectation)
    if value.shape not in ((), leading):
        raise wrong_shape(name, value.shape, f"expected one number, or {leading}")
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), leading)[..., None]


def _draws(key: jax.Array, reqs: Requests) -> tuple[jax.Array, jax.Array]:
    """Two standard normal numbers a request, float32 ``[.., n]`` each."""
    *leading, n = reqs.is_real.shape

    def of_stream(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (2, n), jnp.float32)

    keys = jax.random.split(key, tuple(leading)) if leading else key
    for _ in leading:
        of_stream = jax.vmap(of_stream)
    both = of_stream(keys)
    return both[..., 0, :], both[..., 1, :]


def _upper_end_of_class(length: jax.Array) -> jax.Array:
    """Round up to a power of two, 1 at least; exact, unlike a rounded logarithm."""
    mantissa, exponent = jnp.frexp(length)  # length = mantissa 2^exponent, mantissa in [1/2, 1)
    above = jnp.where(mantissa == 0.5, exponent - 1, exponent)
    end = jnp.ldexp(jnp.ones_like(length), jnp.maximum(above, 0))
    return jnp.where(jnp.isfinite(length), end, length)
