"""A conformance test for users' own estimators."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxsched.model.instance import Instance
from jaxsched.policies import linear_score, rule_name
from jaxsched.tuning._fidelity import evened, reference_gradient
from jaxsched.tuning.estimators.estimate import Estimate, as_estimate, at_step
from jaxsched.tuning.objectives import Objective, mean_latency
from jaxsched.workloads import uniform

_REQUESTS, _PADDING, _INSTANCES = 20, 4, 16
# Three, since no order depends on the length of the weights: of two a gradient has but a sign.
_FEATURES = ("log_prompt", "log_output", "prompt_share")
_WEIGHTS = ((0.4, 0.1, 0.1), (0.3, 0.2, -0.1))
_SIMULATIONS = 4096  # of each instance, at most, for the reference
_ERRORS = 3.0  # standard errors of the mean estimate that are put down to chance
_LOWERING = "/jax/core/compile/jaxpr_to_mlir_module_duration"  # also where a program was kept


def check_estimator(
    estimator: Any, *, min_cosine: float = 0.9, max_bias: float = 0.5, repeats: int = 48
) -> None:
    r"""Check that an estimator keeps the contract of :class:`~jaxsched.tuning.Estimator`.

    Of a linear rule on 16 small backlogs, of which half are padded, it must return a value ``[]``
    and a gradient like the rule, all finite; the same to the bit when asked again with the same
    key; and nothing may be compiled anew when only numbers change: those of the rule, the
    backlogs, the key and its own.

    The mean of many estimates is then compared with a gradient :math:`g` from thousands of
    simulations of the estimator's ``objective`` (else the mean latency): see
    :func:`jaxsched.tuning.reference_gradient`. With :math:`\bar g` the mean over ``repeats``
    keys and :math:`e` its standard error, it must hold that

    .. math:: \cos(\bar g, g) \ge \text{min\_cosine}, \qquad
              |\bar g - g| \le \text{max\_bias}\,|g| + 3 e

    The cosine is in coordinates that move the scores alike, so that slopes of parameters that
    matter little count as much as the others.

    Args:
      estimator: the estimator; one with schedules is judged as it is at step 0.
      min_cosine: least cosine between the mean estimate and the reference; lower it, or raise
        ``repeats``, for noise on the parameters, such as
        :class:`~jaxsched.tuning.EvolutionStrategies`.
      max_bias: most that the mean may be off, as a share of the reference's length; infinite for
        one that gives a direction only. Smoothing and relaxations are biased: the default lets
        :class:`~jaxsched.tuning.Pathwise` pass.
      repeats: calls whose mean is taken.

    Raises:
      AssertionError: a sentence that names the estimator and what it broke.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> js.testing.check_estimator(js.tuning.default_estimator())
      >>> def uphill(rule, instances, key):
      ...     value, gradient, _ = js.tuning.default_estimator()(rule, instances, key)
      ...     return value, jax.tree.map(lambda slope: -slope, gradient), {}
      >>> js.testing.check_estimator(uphill)
      Traceback (most recent call last):
      AssertionError: estimator 'uphill' has a mean gradient whose cosine with the reference ...
    """
    estimator = at_step(estimator, 0)
    rule, moved = (linear_score(_FEATURES, weights) for weights in _WEIGHTS)
    instances, others = _backlogs(0), _backlogs(1)
    key = jax.random.key(0)
    found, again = (_estimated(estimator, rule, instances, key) for _ in range(2))
    _require_same(estimator, found, again)
    _require_no_compilation(estimator, (moved, others, jax.random.fold_in(key, 2)))
    samples = [
        _estimated(estimator, rule, instances, jax.random.fold_in(key, 3 + each))
        for each in range(repeats)
    ]
    reference = _reference(getattr(estimator, "objective", mean_latency))
    gradients = np.stack([_flat(each.gradient) for each in samples])
    even = evened(rule, instances)
    cosine = _cosine(gradients.mean(axis=0) @ even, reference @ even)
    assert cosine >= min_cosine, (
        f"estimator {rule_name(estimator)!r} has a mean gradient whose cosine with the reference "
        f"is {cosine:.3f}; expected at least {min_cosine}"
    )
    _require_length(estimator, gradients, reference, max_bias)


@functools.lru_cache(maxsize=8)  # which takes seconds, and is the same for many estimators
def _reference(objective: Objective) -> np.ndarray:
    rule, key = linear_score(_FEATURES, _WEIGHTS[0]), jax.random.key(1)
    found = reference_gradient(
        *(rule, _backlogs(0), key), objective=objective, max_simulations=_SIMULATIONS
    )
    return found.gradient


def _backlogs(number: int) -> Instance:
    """Draw backlogs, every second of them with padding at its end."""
    inst = uniform(jax.random.key(number), _REQUESTS, _INSTANCES)
    is_real = np.ones(inst.is_real.shape, bool)
    is_real[::2, -_PADDING:] = False
    return dataclasses.replace(
        inst,
        prompt_tokens=jnp.where(is_real, inst.prompt_tokens, 1),
        output_tokens=jnp.where(is_real, inst.output_tokens, 1),
        is_real=jnp.asarray(is_real),
    )


def _estimated(estimator: Any, rule: Any, instances: Instance, key: jax.Array) -> Estimate:
    """Call the estimator, and look at what it returns."""
    name = f"estimator {rule_name(estimator)!r}"
    try:
        found = as_estimate(estimator(rule, instances, key), estimator)
    except Exception as error:
        raise AssertionError(f"{name} fails: {type(error).__name__}: {error}") from error
    value = np.asarray(found.value)
    is_number = value.shape == () and value.dtype.kind == "f"
    assert is_number, (
        f"{name} gives a value of shape {value.shape} and dtype {value.dtype}; expected one float"
    )
    like, given = jax.tree.structure(rule), jax.tree.structure(found.gradient)
    assert given == like, f"{name} gives a gradient {given}; expected one like the rule, {like}"
    for leaf, slope in zip(jax.tree.leaves(rule), jax.tree.leaves(found.gradient), strict=True):
        shape = np.shape(slope)
        assert shape == np.shape(leaf), (
            f"{name} gives slopes of shape {shape} for parameters of shape {np.shape(leaf)}"
        )
    numbers = np.append(_flat(found.gradient), value)
    assert np.isfinite(numbers).all(), (
        f"{name} gives the gradient {numbers[:-1].tolist()} and the value {value}; "
        "expected finite numbers"
    )
    return found


def _require_same(estimator: Any, first: Estimate, again: Estimate) -> None:
    one, other = (_flat((each.value, each.gradient)) for each in (first, again))
    assert np.array_equal(one, other), (
        f"estimator {rule_name(estimator)!r} gives {one.tolist()}, then {other.tolist()} for the "
        "same key; all of its randomness comes from the key"
    )


def _require_no_compilation(estimator: Any, arguments: tuple[Any, Instance, jax.Array]) -> None:
    """Change every number, and count the programs that are made for it."""
    other = jax.tree.map(_nudged, estimator) if _is_pytree(estimator) else estimator
    jax.block_until_ready(arguments)
    with _programs_made() as made:
        jax.block_until_ready(other(*arguments))
    assert not made, (
        f"estimator {rule_name(estimator)!r} compiled {len(made)} programs anew when only numbers "
        "changed; keep numbers in arrays, none of them static, and make jitted functions once"
    )


@contextlib.contextmanager
def _programs_made() -> Iterator[list[str]]:
    made: list[str] = []

    def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del duration_secs, kwargs
        if event == _LOWERING:
            made.append(event)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield made
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def _require_length(
    estimator: Any, gradients: np.ndarray, reference: np.ndarray, max_bias: float
) -> None:
    mean, length = gradients.mean(axis=0), np.linalg.norm(reference)
    error = np.sqrt(gradients.var(axis=0, ddof=1).sum() / len(gradients)) / length
    bias = np.linalg.norm(mean - reference) / length
    assert bias <= max_bias + _ERRORS * error, (
        f"estimator {rule_name(estimator)!r} has a mean gradient that is {bias:.3f} of the "
        f"reference's length off; "
        f"expected at most {max_bias} beside a standard error of {error:.3f}: the gradient is that "
        "of the mean logarithm of the objective"
    )


def _nudged(leaf: Any) -> Any:
    """Change a number a little, and leave what is no number."""
    if isinstance(leaf, float):
        return leaf * 1.01
    is_float = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf * jnp.asarray(1.01, leaf.dtype) if is_float else leaf


def _is_pytree(estimator: Any) -> bool:
    return not jax.tree_util.all_leaves([estimator])


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths > 0 else 0.0


def _flat(tree: Any) -> np.ndarray:
    return np.asarray(ravel_pytree(tree)[0], np.float64)
