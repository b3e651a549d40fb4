"""Selectors by name."""

from __future__ import annotations

from collections.abc import Callable

from jaxsched._lib.registry import Registry
from jaxsched.policies.selectors._greedy import greedy
from jaxsched.policies.selectors._knapsack import exact_dp, scaled_dp
from jaxsched.policies.selectors._local_swap import local_swap
from jaxsched.policies.selectors._multiplier_sweep import multiplier_sweep
from jaxsched.policies.selectors._protocol import Selector

_FACTORIES: Registry[Callable[..., Selector]] = Registry(
    "selector",
    {
        "exact_dp": exact_dp,
        "scaled_dp": scaled_dp,
        "local_swap": local_swap,
        "greedy": greedy,
        "multiplier_sweep": multiplier_sweep,
    },
)


def resolve_selector(selector: str | Selector, **options: object) -> Selector:
    """Return the named selector made with ``options``, or the selector itself.

    Args:
      selector: ``"exact_dp"``, ``"scaled_dp"``, ``"local_swap"``, ``"greedy"``,
        ``"multiplier_sweep"``, or a selector.
      **options: as the function of that name takes them.

    Returns:
      The selector.

    Raises:
      ValueError: no selector has this name.
      TypeError: options for a selector that is made already, or that it does not take.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxsched as js
      >>> from jaxsched.policies import selectors
      >>> inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
      >>> select = selectors.resolve_selector("greedy")(inst)
      >>> select(inst.is_real, inst.kv_capacity).tolist()
      [True, False, True]
    """
    if isinstance(selector, str):
        return _FACTORIES[selector](**options)
    if not callable(selector):
        raise TypeError(f"a selector is a function or the name of one, not {selector!r}")
    if options:
        raise TypeError(f"options {sorted(options)} go with the name of a selector, not with one")
    return selector
