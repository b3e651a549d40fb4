"""A fitted clock says where steps go beyond what it was fitted to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

# Two decode from second 2 on: 30 + 50 tokens cached, then 81, 83.
REQS = js.Requests.from_arrays([0.0, 0.0, 2.5], [30, 50, 20], [3, 2, 4])


def server(prefill_tokens=64, decoding_requests=2, kv_tokens=200):
    box = js.clock.FittedBox(prefill_tokens, decoding_requests, kv_tokens)
    clock = js.clock.LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0, box=box)
    return js.Server(kv_capacity=160, max_num_batched_tokens=64, clock=clock)


def test_steps_inside_are_served_in_silence():
    out = js.serve(REQS, server())
    assert out.completion_s.tolist() == [3.0, 3.0, 7.0]


@pytest.mark.parametrize(
    ("box", "limit"),
    [
        ({"prefill_tokens": 40}, "40 prompt tokens"),
        ({"decoding_requests": 1}, "1 decoding requests"),
        ({"kv_tokens": 60}, "60 held tokens"),
        (
            {"prefill_tokens": 40, "kv_tokens": 60},
            "40 prompt tokens and 60 held tokens, the most that the clock was fitted to",
        ),
    ],
)
def test_steps_beyond_are_warned_of(box, limit):
    with pytest.warns(UserWarning, match=f"some steps take in more than {limit}"):
        out = js.serve(REQS, server(**box))
    assert out.completion_s.tolist() == [3.0, 3.0, 7.0]


def test_a_budget_below_the_box_keeps_prompts_inside():
    js.serve(REQS, server(prefill_tokens=40).replace(max_num_batched_tokens=40))


@pytest.mark.jax_defaults
def test_inside_jit_nobody_knows():
    def last(capacity):
        machine = server(kv_tokens=1).replace(kv_capacity=capacity)
        return js.serve(REQS, machine).completion.astype(jnp.float32).max()

    assert jax.eval_shape(last, jnp.int32(160)).shape == ()


def test_a_box_survives_transformations_and_export():
    clock = server().clock
    doubled = jax.tree.map(lambda leaf: 2 * leaf, clock)
    assert doubled.box == clock.box
    assert np.asarray(doubled.iteration_ms) == 2000.0

    exported = jax.export.export(jax.jit(lambda clock: clock.iteration_ms))(
        jax.tree.map(jnp.float32, clock)
    )
    again = jax.export.deserialize(exported.serialize())
    assert float(again.call(jax.tree.map(jnp.float32, clock))) == 1000.0
