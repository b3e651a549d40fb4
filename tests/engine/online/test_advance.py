"""The kernels go on from where they stopped, and skip steps that are alike without a trace."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.online import quick, together
from jaxsched.engine.online.arrivals import checked, streams_of
from jaxsched.engine.online.in_order import kernel as in_order
from jaxsched.engine.online.in_order import state as in_order_state
from jaxsched.engine.online.serve import given_to_kernel
from jaxsched.engine.online.state import Kernel
from jaxsched.model.itl import ITL_EDGES_S
from tests.engine.online.outcomes import server_of, stacked_server
from tests.engine.online.scenarios import VLLM_OPTIONS, random_scenario
from tests.engine.online.test_serve import requests_with_priority

# Slow tests are compiled as they are for users: where the default tests are not, sums of products
# are rounded differently from one program to the next, in the last bit.
pytestmark = [pytest.mark.jax_defaults, pytest.mark.slow]

PLAIN = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"}
THROUGHOUT = (np.inf,)
IN_PIECES = (0.0, 0.5, 0.5, 3.0, 20.0, np.inf)


def given(num_streams=60):
    """Streams of simple settings, with the clock of a real server."""
    drawn = [random_scenario(s, max_requests=12, clock="measured", **PLAIN) for s in range(900)]
    simple = [
        each
        for each in drawn
        if each.settings.long_prefill_token_threshold == 0
        and each.settings.prefill_schedule_interval == 1
        and not np.isnan(each.priority).any()
    ][:num_streams]
    assert len(simple) == num_streams
    reqs = js.stack([requests_with_priority(each) for each in simple])
    return given_to_kernel(stacked_server([server_of(each) for each in simple]), reqs, None, None)


@functools.partial(jax.jit, static_argnums=0)
def records(how, arrivals, limits, stops):
    """What becomes of the streams when a kernel stops and goes on at the given seconds."""
    name, choices = how
    laid_out = streams_of(choices, checked(arrivals, limits), limits, "scatter")
    streams, order, waiting = laid_out
    fixed = streams, limits, choices, "scatter", jnp.asarray(ITL_EDGES_S), jnp.int32(1)
    begun = streams, order, waiting, limits, choices, None
    if name == "quick":
        kernel, state, advance = Kernel(*fixed), together.initial(*begun), quick.advance
    else:
        kernel, advance = Kernel(*fixed), in_order.advance
        state = in_order_state.initial(*begun)
    for until in stops:
        state = advance(kernel, state, jnp.broadcast_to(until, limits.block_size.shape))
    kept = state.records
    of_requests = kept.first_scheduled, kept.first_token, kept.completion, kept.preemptions
    nobody = -limits.block_size.shape[0]  # the last row of all streams, which is overwritten
    rows = [each[:nobody] for each in of_requests]
    return *rows, state.totals.steps, state.totals.recomputed


@pytest.fixture(scope="module")
def outcomes():
    with jax.enable_x64(True):
        arrivals, limits, choices = given()
        limits = jax.tree.map(jnp.asarray, limits)
        choices = choices._replace(has_histogram=False, slots=16)
        no_skip = choices._replace(can_skip=False)
        ways = {
            "whole": (("quick", choices), THROUGHOUT),
            "in pieces": (("quick", choices), IN_PIECES),
            "step by step": (("quick", no_skip), THROUGHOUT),
            "the general kernel": (("in order", no_skip), THROUGHOUT),
            "the general kernel in pieces": (("in order", no_skip), IN_PIECES),
        }
        return {
            name: [np.asarray(each) for each in records(how, arrivals, limits, stops)]
            for name, (how, stops) in ways.items()
        }


@pytest.mark.parametrize(
    "way", ["in pieces", "step by step", "the general kernel", "the general kernel in pieces"]
)
def test_all_ways_give_the_same_to_the_bit(outcomes, way):
    assert np.isfinite(outcomes["whole"][2]).sum() > 100
    for expected, got in zip(outcomes["whole"], outcomes[way], strict=True):
        np.testing.assert_array_equal(got, expected)
