"""What servers show a dynamic rule: an ordinary day, and extremes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsched.engine.contract import Events, Observation

_PROMPT, _OUTPUT = np.array([7, 2, 13, 4, 9, 5]), np.array([3, 9, 1, 8, 11, 4])
_ARRIVAL_S = np.array([0.0, 0.0, 1.0, 1.5, 2.0, 4.0])


def extreme_observations(max_tokens: int) -> dict[str, Observation]:
    """Make observations that a rule may not have thought of; ``max_tokens`` fills the cache."""
    half = max_tokens // 2
    return {
        "ordinary requests": ordinary_day()[3][0],
        "one request": _observation(prompt_tokens=[1], output_tokens=[1], kv_capacity=2),
        "identical requests": _observation(prompt_tokens=[3] * 6, output_tokens=[2] * 6),
        "requests that have just arrived": _observation(
            prompt_tokens=[7, 2, 13], output_tokens=[3, 9, 1], arrival_s=[3.0] * 3
        ),
        "requests that have passed their predictions": _observation(
            prompt_tokens=[7, 2, 13],
            output_tokens=[3, 0, 1],
            generated_tokens=[3, 5, 20],
            computed_tokens=[9, 6, 32],
            is_running=[True] * 3,
        ),
        "targets that have passed": _observation(
            prompt_tokens=[7, 2, 13], output_tokens=[3, 9, 1], ttft_slo_s=[0.5, 1.0, 2.0]
        ),
        "huge lengths": _observation(
            prompt_tokens=[max_tokens - 1, 1, half, half],
            output_tokens=[1, half, half, 3],
            kv_capacity=max_tokens,
        ),
        "a server without requests": _observation(
            prompt_tokens=[1] * 3, output_tokens=[1] * 3, is_real=[False] * 3
        ),
    }


def ordinary_day() -> list[tuple[Observation, Events]]:
    """Serve six requests, two at a time: what is shown, and what has happened, at each moment."""
    generated = np.zeros(6, int)
    running, left, seen = np.zeros((3, 6), bool)
    day = []
    for now in range(8):
        here = (arrived_by := now >= _ARRIVAL_S) & ~left
        day.append((_shown(now, here, running, generated), _events(arrived=arrived_by & ~seen)))
        waits = here & ~running
        begins = waits & (np.cumsum(waits) <= 2 - running.sum())
        computed = np.where(begins, _PROMPT, running)
        running = running | begins
        generated = generated + running
        ended = running & (generated == _OUTPUT)
        happened = _events(
            admitted=begins,
            computed_tokens=computed,
            new_tokens=running,
            completed=ended,
            step_s=1.0,
        )
        day.append((_shown(now + 1, here, running, generated), happened))
        seen, left, running = arrived_by, left | ended, running & ~ended
    return day


def _shown(now: int, here: Any, running: Any, generated: Any) -> Observation:
    place = np.arange(6)
    return _observation(
        prompt_tokens=np.where(here, _PROMPT, 1),
        output_tokens=np.where(here, _OUTPUT, 1),
        is_real=here,
        arrival_s=np.where(here, _ARRIVAL_S, 0.0),
        priority=np.where(here, _PROMPT % 3, 0.0),
        client=np.where(here, place % 2, 0),
        ttft_slo_s=np.where(here, 2.0 + _PROMPT, np.inf),
        now_s=float(now),
        generated_tokens=np.where(here, generated, 0),
        computed_tokens=np.where(running, _PROMPT + generated - 1, 0),
        is_running=running,
    )


def _observation(**fields: Any) -> Observation:
    """Show requests that wait at a server of 40 tokens; ``fields`` say otherwise."""
    n = len(fields["prompt_tokens"])
    default = {
        "is_real": [True] * n,
        "kv_capacity": 40,
        "arrival_s": [0.0] * n,
        "priority": [0.0] * n,
        "client": [0] * n,
        "ttft_slo_s": [np.inf] * n,
        "tpot_slo_s": [np.inf] * n,
        "now_s": 3.0,
        "generated_tokens": [0] * n,
        "computed_tokens": [0] * n,
        "is_running": [False] * n,
    }
    fields = default | fields
    waited = fields["now_s"] - np.asarray(fields["arrival_s"], np.float32)
    kinds = {
        name: jnp.float32 if name.endswith("_s") or name == "priority" else jnp.int32
        for name in ("waited_s", *fields)
    } | {"is_real": jnp.bool_, "is_running": jnp.bool_}
    fields["waited_s"] = np.where(fields["is_real"], waited, 0.0)
    return Observation(**{name: jnp.asarray(value, kinds[name]) for name, value in fields.items()})


def _events(**fields: Any) -> Events:
    none = dict.fromkeys(("arrived", "admitted", "evicted", "completed"), np.zeros(6, bool))
    none |= dict.fromkeys(("computed_tokens", "new_tokens"), np.zeros(6, int))
    fields = none | {"step_s": 0.0} | fields
    kinds = {"computed_tokens": jnp.int32, "new_tokens": jnp.int32, "step_s": jnp.float32}
    return Events(
        **{name: jnp.asarray(value, kinds.get(name, jnp.bool_)) for name, value in fields.items()}
    )
