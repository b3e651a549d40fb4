"""Sessions: people who read the answer, think, and ask on; an open loop, drawn beforehand."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsched._lib.errors import InputError, integer
from jaxsched.model.requests import Requests
from jaxsched.workloads import _checks
from jaxsched.workloads.arrivals import _gaps
from jaxsched.workloads.arrivals._streams import numbers_of, one_a_stream, per_stream
from jaxsched.workloads.arrivals.laws import LengthLaw
from jaxsched.workloads.arrivals.lengths import MOST_TOKENS, require_limit, whole_tokens

_MOST_DRAWN = 2**31 - 1


def sessions(
    key: jax.Array,
    num_requests: int,
    batch: int | None = None,
    *,
    rate: Any,
    new_prompt: LengthLaw,
    output: LengthLaw,
    mean_turns: Any = 4.0,
    think_median_s: Any = 20.0,
    think_sigma: Any = 1.0,
    assumed_ttft_s: Any = 0.5,
    assumed_tpot_s: Any = 0.03,
    max_turns: int = 32,
    max_prompt_tokens: int = MOST_TOKENS,
    max_output_tokens: int = MOST_TOKENS,
) -> Requests:
    r"""Draw the turns of conversations whose prompts hold all that was said, in an open loop.

    Sessions start as a Poisson process. The number :math:`K` of turns of each is geometric, and
    at most ``max_turns``. Turn :math:`k` adds :math:`u_k` new tokens to the prompt:

    .. math:: s_1 = u_1, \quad s_k = s_{k-1} + o_{k-1} + u_k, \qquad
              r_k = r_{k-1} + \text{ttft} + o_{k-1}\, \text{tpot} + e^{\mu + \sigma z_k}

    with :math:`e^\mu` the median time to think. The requests of all sessions are merged by time
    and the first n are taken. A prompt above ``max_prompt_tokens`` is cut to it, as by a client
    that forgets the beginning.

    This is an **open loop**: every arrival is drawn before anything is served. A turn comes when
    the one before would be answered at the assumed speed, not when the server answers it. A slow
    server does not slow its users down, so that it is judged too harshly once it is overloaded.
    The engine keeps no prefix cache either: it computes the whole prompt of every turn.

    Nobody is there at second 0. The rate rises to ``rate`` within some times to think, and
    :func:`cut` leaves that part out of metrics.

    Args:
      key: a jax random key; equal keys give equal sessions.
      num_requests: requests in each stream, n.
      batch: number of streams B, or None for a single one without a leading axis.
      rate: requests a second > 0 in the long run, turns of all sessions: one, or ``[B]``; it may
        be traced. Equal keys draw the same sessions at every rate, and scale only when they start.
      new_prompt: the law of new tokens of a turn.
      output: the law of output lengths.
      mean_turns: mean of the geometric law, from 1 to 1e6, one or ``[B]``; it may be traced.
      think_median_s: median seconds from an answer to the next turn, likewise.
      think_sigma: :math:`\sigma` of their logarithm, at least 0, likewise.
      assumed_ttft_s: seconds to a first token that users are taken to wait, at least 0, likewise.
      assumed_tpot_s: seconds for each further token, likewise.
      max_turns: turns after which a session ends in any case.
      max_prompt_tokens: longer prompts are cut to it.
      max_output_tokens: longer outputs are cut to it.

    Returns:
      The requests ``[n]`` or ``[B, n]``; ``client`` numbers the sessions by their start.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> import jax
      >>> import jaxsched as js
      >>> from jaxsched.workloads.arrivals import Exponential, LogNormal
      >>> reqs = js.workloads.arrivals.sessions(
      ...     jax.random.key(0), 1000, rate=2.0, new_prompt=LogNormal(50.0, 1.0),
      ...     output=Exponential(200.0))
      >>> first = reqs.client == 0
      >>> bool((reqs.prompt_tokens[first][1:] > reqs.prompt_tokens[first][:-1]).all())
      True

    Source:
      Ours; log-normal times to think and geometric turns are the usual choices.
    """
    n = _checks.count("num_requests", num_requests)
    leading = _checks.leading(batch)
    integer("max_turns", max_turns)
    if n * max_turns > _MOST_DRAWN:
        expectation = f"expected at most {_MOST_DRAWN // n}: {n} sessions are drawn"
        raise InputError("max_turns", max_turns, expectation)
    require_limit("max_prompt_tokens", max_prompt_tokens)
    require_limit("max_output_tokens", max_output_tokens)
    for name, law in (("new_prompt", new_prompt), ("output", output)):
        law.require(name)
    at_least_0 = "a finite number >= 0", -1e-300, np.inf
    above_0 = "a finite number > 0", 0.0, np.inf
    with jax.enable_x64(True):
        numbers = (
            one_a_stream("rate", rate, leading, *above_0),
            one_a_stream("mean_turns", mean_turns, leading, "a number from 1", 1 - 1e-12, 1e6),
            one_a_stream("think_median_s", think_median_s, leading, *above_0),
            one_a_stream("think_sigma", think_sigma, leading, *at_least_0),
            one_a_stream("assumed_ttft_s", assumed_ttft_s, leading, *at_least_0),
            one_a_stream("assumed_tpot_s", assumed_tpot_s, leading, *at_least_0),
        )
        laws = numbers_of(new_prompt, jnp.float32), numbers_of(output, jnp.float32)
        limits = max_prompt_tokens, max_output_tokens
        arrival_s, prompt, output_tokens, session = _drawn(
            key, laws, numbers, limits, leading, n, max_turns
        )
    return Requests(
        arrival_s=arrival_s,
        prompt_tokens=prompt,
        output_tokens=output_tokens,
        is_real=jnp.ones((*leading, n), bool),
        client=session,
    )


@functools.partial(jax.jit, static_argnames=("limits", "leading", "n", "max_turns"))
def _drawn(
    key: jax.Array,
    laws: tuple[LengthLaw, LengthLaw],
    numbers: tuple[jax.Array, ...],
    limits: tuple[int, int],
    leading: tuple[int, ...],
    n: int,
    max_turns: int,
) -> tuple[jax.Array, ...]:
    def of_stream(key: jax.Array, *numbers: jax.Array) -> tuple[jax.Array, ...]:
        return _of_stream(key, laws, numbers, limits, n, max_turns)

    return per_stream(of_stream, key, leading, *numbers)


def _of_stream(
    key: jax.Array,
    laws: tuple[LengthLaw, LengthLaw],
    numbers: tuple[jax.Array, ...],
    limits: tuple[int, int],
    n: int,
    max_turns: int,
) -> tuple[jax.Array, ...]:
    """Draw n sessions, of which the first n requests must come: each begins with one."""
    rate, mean_turns, think_median_s, think_sigma, ttft_s, tpot_s = numbers
    start_key, turns_key, think_key, new_key, output_key = jax.random.split(key, 5)

    # The number of turns is above k with probability (1 - 1/m)^k, up to the most.
    log_goes_on = jnp.log1p(-1 / mean_turns)
    turns = jnp.floor(-_gaps.exponential(turns_key, (n,)) / log_goes_on) + 1
    turns = jnp.minimum(turns, float(max_turns)).astype(jnp.int32)
    mean_drawn = -mean_turns * jnp.expm1(max_turns * log_goes_on)

    gaps_s = _gaps.exponential(start_key, (n,)) * mean_drawn / rate
    start_s = jnp.cumsum(gaps_s) - gaps_s[0]

    shape = n, max_turns
    new_law, output_law = laws
    new = whole_tokens(new_law.at_normal(_normal(new_key, shape)), limits[0])
    output = whole_tokens(output_law.at_normal(_normal(output_key, shape)), limits[1])
    all_said = jnp.cumsum((new + output).astype(jnp.int64), axis=-1)
    said_before = all_said - output.astype(jnp.int64)
    prompt = jnp.minimum(said_before, jnp.int64(limits[0])).astype(jnp.int32)

    normal = _normal(think_key, shape).astype(jnp.float64)
    answer_s = ttft_s + output.astype(jnp.float64) * tpot_s
    pause_s = answer_s + think_median_s * jnp.exp(think_sigma * normal)
    since_start_s = jnp.cumsum(pause_s, axis=-1) - pause_s
    turn = jnp.arange(max_turns, dtype=jnp.int32)[None, :]
    time_s = jnp.where(turn < turns[:, None], start_s[:, None] + since_start_s, jnp.inf)

    first = jnp.argsort(time_s.reshape(-1))[:n]
    session = (first // max_turns).astype(jnp.int32)
    return (*(each.reshape(-1)[first] for each in (time_s, prompt, output)), session)


def _normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(key, shape, jnp.float32)
