"""Small cases whose right values are worked out by hand: paged memory, predictions, optima."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

THREE = js.Instance.from_lengths([80, 10, 20], [10, 30, 5], kv_capacity=100)


def test_blocks_of_sixteen_tokens_take_more_room():
    """Each ends holding 18 tokens, two of the four blocks: two of them fit."""
    reqs = js.Instance.from_lengths([17, 17, 17], [1, 1, 1], kv_capacity=64).as_requests()
    server = js.Server(kv_capacity=64, block_size=16)
    assert js.serve(reqs, server).first_scheduled.tolist() == [0, 0, 1]
    assert js.serve(reqs, server.replace(block_size=1)).first_scheduled.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("guess", "order", "start"),
    [
        ([30, 25, 8], [2, 1, 0], [30, 0, 0]),  # 80 + 30 tokens pass the cache
        ([0, 25, 8], [0, 2, 1], [0, 10, 10]),
        ([9.6, 25.2, 8.0], [2, 0, 1], [5, 15, 0]),
    ],
)
def test_rules_order_by_any_prediction_and_true_lengths_admit(guess, order, start):
    priority = js.prioritize(THREE.as_predicted(guess), "shortest_output")
    assert np.argsort(priority, stable=True).tolist() == order
    assert js.simulate(THREE, priority).start.tolist() == start
    reqs = js.Requests.from_arrays(
        *(np.zeros(3), THREE.prompt_tokens, THREE.output_tokens), predicted_output_tokens=guess
    )
    alone = js.Server(kv_capacity=128, block_size=16, max_num_seqs=1)
    served = js.serve(reqs, alone, "shortest_output").first_scheduled
    assert np.argsort(served).tolist() == order


def test_predictions_are_rounded_up_to_one_token_at_least():
    inst = js.stack([THREE, js.Instance.from_lengths([3], [2], kv_capacity=9)])
    seen = inst.as_predicted(np.array([[0, 0.2, 7.2], [1e30, 5, np.inf]]))
    assert seen.output_tokens.tolist() == [[1, 1, 8], [2**30, 1, 1]]  # padding stays 1
    assert seen.prompt_tokens is inst.prompt_tokens
    traced = jax.jit(lambda guess: inst.as_predicted(guess).output_tokens)(jnp.full((2, 3), 1.5))
    assert traced.tolist() == [[2, 2, 2], [2, 1, 1]]


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        ([1, -2, 3], r"predicted_output_tokens\[1\] is -2.0; expected a number >= 0"),
        ([1, np.nan, 3], r"predicted_output_tokens\[1\] is nan; expected a number >= 0"),
        ([1, 2], r"predicted_output_tokens has shape \(2,\) but output_tokens has \(3,\)"),
        (["a", "b", "c"], "predicted_output_tokens has dtype <U1; expected numbers"),
    ],
)
def test_what_is_no_prediction_is_named(guess, message):
    with pytest.raises(ValueError, match=message):
        THREE.as_predicted(guess)


def test_the_best_schedule_found_is_never_worse_than_a_rule():
    rng = np.random.default_rng(1)
    prompt, output = rng.integers(1, 6, 20), rng.integers(1, 30, 20)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=36)
    by_rule = js.simulate(inst, js.prioritize(inst, "shortest_output")).completion.sum()
    assert by_rule == 1072
    assert js.bounds.exact(inst, time_limit_s=1e-3).upper <= by_rule


def test_small_uniform_backlogs_are_taken():
    inst = js.workloads.uniform(jax.random.key(5), num_requests=6, batch=8)
    for row in range(8):
        found = js.bounds.exact(inst[row], time_limit_s=1e-3)
        assert found.lower <= found.upper == found.schedule.completion.sum()
