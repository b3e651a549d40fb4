"""A conformance test for users' own rules."""

from __future__ import annotations

import jax
import numpy as np

from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import HostRule, Rule, prioritize, rule_name
from jaxsched.policies._check_dynamic import check_dynamic
from jaxsched.policies._dynamic import DynamicRule
from jaxsched.policies.registry import resolve

MAX_TOKENS = 2**31 - 1
_ROUNDING = 1e-5  # of the largest priority: jit, vmap and padding may round floats differently


def check_policy(
    rule: Rule | str, *, uses_row_order: bool = False, max_tokens: int = MAX_TOKENS
) -> None:
    """Check that a rule keeps the contract of :class:`~jaxsched.policies.Rule`.

    It must return one number, never NaN, for each request of ordinary and extreme instances (one
    request, one output token, identical requests, requests that fill the cache, huge lengths);
    return the same when asked again; order real requests alike whether or not padding follows
    them, and whatever the order of the rows; and, if pure, do the same run directly, under
    ``jit`` and under ``vmap``, without keeping hold of a tracer. Rows are permuted on distinct
    lengths only, so a rule is free to break ties by index.

    Of a :func:`~jaxsched.policies.dynamic` rule it checks the same, on what a server shows in the
    course of some steps; that its state keeps shapes and types; and that a server that uses it
    gets every request done.

    Args:
      rule: a rule, or the name of a registered one.
      uses_row_order: pass True for a rule like ``fcfs`` that reads the order of the rows.
      max_tokens: KV capacity of the instance of huge lengths, at least 40; lower it for a host
        rule whose cost grows with the lengths.

    Raises:
      AssertionError: a sentence that names the rule and what it broke.

    Example:
      >>> import jaxsched as js
      >>> js.testing.check_policy("smallest_volume")
      >>> def standardised(inst):
      ...     return (inst.output_tokens - inst.output_tokens.mean()) / inst.output_tokens.std()
      >>> js.testing.check_policy(standardised)
      Traceback (most recent call last):
      AssertionError: rule 'standardised' gives NaN on one request: [nan]
    """
    rule = resolve(rule)
    if isinstance(rule, DynamicRule):
        check_dynamic(rule, uses_row_order=uses_row_order, max_tokens=max_tokens)
        return
    for what, inst in _extreme_instances(max_tokens).items():
        priority = _priorities(rule, inst, what)
        assert not np.isnan(priority).any(), (
            f"rule {rule_name(rule)!r} gives NaN on {what}: {priority.tolist()}"
        )
    _check_repeatable(rule)
    _check_instances_stay_apart(rule)
    if not uses_row_order:
        _check_row_order_is_free(rule)
    if not isinstance(rule, HostRule):
        _check_same_without_jit(rule)
        _check_keeps_no_tracer(rule)


def _ordinary() -> Instance:
    """Six requests, no two alike in prompt, output, sum or volume."""
    return Instance.from_lengths([7, 2, 13, 4, 9, 5], [3, 9, 1, 8, 11, 4], kv_capacity=40)


def _extreme_instances(max_tokens: int) -> dict[str, Instance]:
    half, quarter = max_tokens // 2, max_tokens // 4

    def instance(prompt: list[int], output: list[int], capacity: int) -> Instance:
        return Instance.from_lengths(prompt, output, kv_capacity=capacity)

    return {
        "ordinary lengths": _ordinary(),
        "one request": instance([1], [1], 2),
        "one output token each": instance([7, 2, 13, 4, 9, 5], [1] * 6, 40),
        "identical requests": instance([3] * 6, [2] * 6, 40),
        "requests that fill the cache": instance(
            [39, 1, 20, 30, 10, 38], [1, 39, 20, 10, 30, 2], 40
        ),
        "huge lengths": instance(
            [max_tokens - 1, 1, half, quarter, quarter + 1, 1],
            [1, half, quarter, 3, 3, 1],
            max_tokens,
        ),
    }


def _check_repeatable(rule: Rule) -> None:
    first, again = (np.asarray(rule(_ordinary())) for _ in range(2))
    assert np.array_equal(first, again), (
        f"rule {rule_name(rule)!r} gives {first.tolist()}, then {again.tolist()} for the same "
        "instance; a rule depends on the instance and its own parameters only"
    )


def _check_instances_stay_apart(rule: Rule) -> None:
    short = _ordinary()
    long = Instance.from_lengths(
        [1, 6, 3, 17, 8, 2, 11, 5], [12, 4, 2, 7, 19, 5, 1, 9], kv_capacity=60
    )
    together = _priorities(rule, stack([short, long]), "two stacked instances")
    for inst, shared, circumstance in (
        (short, together[0, :6], "when padding follows them"),
        (long, together[1], "when another instance is mapped beside theirs"),
    ):
        alone = _priorities(rule, inst, "ordinary lengths")
        _require_same_order(rule, alone, shared, circumstance)


def _check_row_order_is_free(rule: Rule) -> None:
    inst = _ordinary()
    rows = np.array([4, 2, 0, 5, 1, 3])
    moved = Instance.from_lengths(
        np.asarray(inst.prompt_tokens)[rows],
        np.asarray(inst.output_tokens)[rows],
        kv_capacity=inst.kv_capacity,
    )
    alone = _priorities(rule, inst, "ordinary lengths")
    permuted = _priorities(rule, moved, "ordinary lengths")
    _require_same_order(
        rule,
        alone[rows],
        permuted,
        "when the rows are permuted (pass uses_row_order=True if it is meant to)",
    )


def _check_same_without_jit(rule: Rule) -> None:
    inst = _ordinary()
    compiled = _priorities(rule, inst, "ordinary lengths")
    _require_same_order(rule, np.asarray(rule(inst)), compiled, "under jit")


def _check_keeps_no_tracer(rule: Rule) -> None:
    try:
        with jax.checking_leaks():
            jax.jit(lambda inst: rule(inst))(_ordinary())
    except Exception as error:
        if "Leaked" not in str(error):
            raise
        raise AssertionError(
            f"rule {rule_name(rule)!r} keeps hold of a traced array after it returns; a rule "
            "stores nothing outside itself"
        ) from error


def _priorities(rule: Rule, inst: Instance, what: str) -> np.ndarray:
    try:
        return np.asarray(prioritize(inst, rule))
    except Exception as error:
        raise AssertionError(
            f"rule {rule_name(rule)!r} fails on {what}: {type(error).__name__}: {error}"
        ) from error


def _require_same_order(
    rule: Rule, expected: np.ndarray, now: np.ndarray, circumstance: str
) -> None:
    is_reversed = _is_before(expected) & ~_is_before(now, rounding=0)
    is_reversed |= _is_before(now) & ~_is_before(expected, rounding=0)
    assert not is_reversed.any(), (
        f"rule {rule_name(rule)!r} orders requests differently {circumstance}: priorities "
        f"{expected.tolist()} become {now.tolist()}"
    )


def _is_before(priority: np.ndarray, rounding: float = _ROUNDING) -> np.ndarray:
    """Whether ``i`` comes before ``j`` by more than rounding, bool ``[n, n]``."""
    value = priority.astype(np.float64)
    is_float = priority.dtype.kind not in "iu"
    largest = np.max(np.abs(value), where=np.isfinite(value), initial=0.0)
    return value[:, None] < value[None, :] - is_float * rounding * largest
