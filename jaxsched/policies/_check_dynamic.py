"""A conformance test for users' own dynamic rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched.engine.contract import Events, Observation
from jaxsched.model.requests import Requests
from jaxsched.model.schedule import Status
from jaxsched.model.server import Server
from jaxsched.policies._dynamic import DynamicRule
from jaxsched.policies._serve import serve
from jaxsched.policies._server_days import extreme_observations, ordinary_day

_PERMUTED = np.array([4, 2, 0, 5, 1, 3])


def check_dynamic(rule: DynamicRule, *, uses_row_order: bool, max_tokens: int) -> None:
    """Check that a dynamic rule keeps its contract; arguments as for ``check_policy``."""
    for what, obs in extreme_observations(max_tokens).items():
        numbers = _numbers(rule, obs, _state(rule, obs), what)
        at_server = np.asarray(obs.is_real)
        assert not np.isnan(numbers[at_server]).any(), (
            f"rule {rule.name!r} gives NaN on {what}: {numbers.tolist()}"
        )
    whole = _over_a_day(rule, ordinary_day(), "ordinary requests")
    again = _over_a_day(rule, ordinary_day(), "ordinary requests")
    _require_equal(rule, whole, again, "when asked again")
    followed = _over_a_day(rule, _followed(ordinary_day()), "ordinary requests")
    _require_equal(rule, whole, followed[:, :6], "when empty rows follow them")
    if not uses_row_order:
        moved = _over_a_day(rule, _moved(ordinary_day()), "ordinary requests")
        _require_equal(
            rule,
            whole[:, _PERMUTED],
            moved,
            "when the rows are permuted (pass uses_row_order=True if it is meant to)",
        )
    _check_keeps_no_tracer(rule)
    _check_serves(rule)


def _followed(day: list[Any]) -> list[Any]:
    """Let two rows follow that hold no request."""
    filler = {"prompt_tokens": 1, "output_tokens": 1, "ttft_slo_s": np.inf, "tpot_slo_s": np.inf}

    def followed(shown: Any) -> Any:
        return type(shown)(**{
            field.name: jnp.pad(value, (0, 2), constant_values=filler.get(field.name, 0))
            if (value := getattr(shown, field.name)).ndim
            else value
            for field in dataclasses.fields(shown)
        })  # fmt: skip

    return [(followed(obs), followed(events)) for obs, events in day]


def _moved(day: list[Any]) -> list[Any]:
    return jax.tree.map(lambda leaf: leaf[_PERMUTED] if leaf.ndim else leaf, day)


def _over_a_day(rule: DynamicRule, day: list[Any], what: str) -> np.ndarray:
    """Numbers at every moment of a day ``[moments, n]``; of nobody they are 0."""
    state = _state(rule, day[0][0])
    kept = jax.tree.map(_kind, state)
    found = []
    for obs, events in day:
        state = _called(rule, what, rule.update, state, obs, events)
        assert jax.tree.map(_kind, state) == kept, (
            f"rule {rule.name!r} updates its state to {jax.tree.map(_kind, state)}; "
            f"init gave {kept}"
        )
        numbers = _numbers(rule, obs, state, what)
        found.append(np.where(np.asarray(obs.is_real), numbers.astype(np.float64), 0.0))
    return np.stack(found)


def _kind(leaf: Any) -> tuple[tuple[int, ...], str]:
    return jnp.shape(leaf), str(jnp.asarray(leaf).dtype)


def _state(rule: DynamicRule, obs: Observation) -> Any:
    return _called(rule, "an empty server", rule.init, obs)


def _numbers(rule: DynamicRule, obs: Observation, state: Any, what: str) -> np.ndarray:
    numbers = _called(rule, what, rule.numbers, obs, state)
    compiled = _called(rule, f"{what}, under jit", jax.jit(rule.numbers), obs, state)
    is_close = np.allclose(numbers, compiled, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert is_close, (
        f"rule {rule.name!r} gives other numbers under jit: {np.asarray(numbers).tolist()} become "
        f"{np.asarray(compiled).tolist()}"
    )
    return np.asarray(numbers)


def _called(rule: DynamicRule, what: str, function: Any, *given: Any) -> Any:
    try:
        return function(*given)
    except Exception as error:
        raise AssertionError(
            f"rule {rule.name!r} fails on {what}: {type(error).__name__}: {error}"
        ) from error


def _require_equal(
    rule: DynamicRule, expected: np.ndarray, now: np.ndarray, circumstance: str
) -> None:
    is_same = np.isclose(expected, now, rtol=1e-5, atol=1e-6)
    moment = int(np.argmin(is_same.all(axis=-1)))
    assert is_same.all(), (
        f"rule {rule.name!r} gives other numbers {circumstance}: {expected[moment].tolist()} "
        f"become {now[moment].tolist()}"
    )


def _check_keeps_no_tracer(rule: DynamicRule) -> None:
    obs, events = ordinary_day()[3]

    def once(obs: Observation, events: Events) -> Any:
        state = rule.update(rule.init(obs), obs, events)
        return rule.numbers(obs, state)

    try:
        with jax.checking_leaks():
            jax.jit(once)(obs, events)
    except Exception as error:
        if "Leaked" not in str(error):
            raise
        raise AssertionError(
            f"rule {rule.name!r} keeps hold of a traced array after it returns; what a rule "
            "remembers is in its state"
        ) from error


def _check_serves(rule: DynamicRule) -> None:
    """Serve 24 requests on a server that cannot hold them; all of them must be served."""
    place = np.arange(24)
    prompt, output = 1 + place * 7 % 11, 1 + place * 5 % 9
    reqs = Requests.from_arrays(place * 0.5, prompt, output)
    server = Server(kv_capacity=40, max_num_batched_tokens=32)
    out = _called(rule, "a server", serve, reqs, server, rule)
    statuses = {Status(each) for each in np.asarray(out.status).tolist()} - {Status.OK}
    assert Status.STEP_LIMIT not in statuses, (
        f"rule {rule.name!r} does not get 24 requests served in twice as many steps as they have "
        "tokens; requests that push out each other again and again make no progress"
    )
    assert not statuses, (
        f"rule {rule.name!r} ends a stream with status {', '.join(s.name for s in statuses)}"
    )
