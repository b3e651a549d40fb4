"""The leaves of a parametric rule: what they may be, and which of them went wrong."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.policies import rule_name


def has_parameters(rule: Any) -> bool:
    """Say whether a rule is a pytree with leaves, and no function or name."""
    return bool(jax.tree.leaves(rule)) and not jax.tree_util.all_leaves([rule])


def as_parameters(rule: Any) -> Any:
    """Return the rule with arrays for leaves, which keep their dtype from step to step."""
    name = rule_name(rule)
    leaves = jax.tree_util.tree_leaves_with_path(rule)
    if not has_parameters(rule):
        raise ValueError(
            f"rule {name!r} has no parameters to tune; give a pytree such as "
            'js.policies.make("linear_score")'
        )
    for path, leaf in leaves:
        kind = np.asarray(leaf).dtype
        if not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(f"{_where(path)} of rule {name!r} has dtype {kind}; expected floats")
        if not is_finite(leaf):
            raise ValueError(
                f"{_where(path)} of rule {name!r} holds {_first_wrong(leaf)}; start from finite "
                "numbers"
            )
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.asarray(leaf).dtype), rule)


def as_box(rule: Any, bounds: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """Lower and upper limits with the structure, shapes and dtypes of the rule's leaves."""

    def spread(limit: Any) -> Any:
        full = jax.tree.broadcast(limit, rule)
        return jax.tree.map(
            lambda number, leaf: jnp.broadcast_to(jnp.asarray(number, leaf.dtype), leaf.shape),
            full,
            rule,
        )

    low, high = map(spread, (-jnp.inf, jnp.inf) if bounds is None else bounds)
    for path, inside in jax.tree_util.tree_leaves_with_path(
        jax.tree.map(lambda a, x, b: bool(np.all((a <= x) & (x <= b))), low, rule, high)
    ):
        if not inside:
            raise ValueError(
                f"{_where(path)} of the rule lies outside bounds; start from a rule inside them"
            )
    return low, high


def is_finite(tree: Any) -> bool:
    """Say whether no leaf holds NaN or infinity."""
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


def require_finite(what: str, tree: Any, step: int, value: Any) -> None:
    """Raise for the first leaf that holds NaN or infinity."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not is_finite(leaf):
            raise ValueError(
                f"step {step}: {_where(path)} of the {what} holds {_first_wrong(leaf)} (training "
                f"value {float(value):.6g}); guard the rule's logarithms, divisions and roots, or "
                "lower the learning rate"
            )


def _first_wrong(leaf: Any) -> Any:
    numbers = np.asarray(leaf)
    return numbers[~np.isfinite(numbers)][0]


def _where(path: Any) -> str:
    return f"leaf {jax.tree_util.keystr(path) or 'the whole'}"
