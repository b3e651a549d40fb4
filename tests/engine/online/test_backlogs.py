"""All arrivals at 0, blocks of one token, no budget, look-ahead admission: js.simulate."""

import numpy as np
import pytest

import jaxsched as js

pytestmark = pytest.mark.jax_defaults


def backlogs(num_instances, n=8, seed=0):
    """Random instances ``[B, n]``, some tight, with priorities that tie."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(1, 12, (num_instances, n))
    output = rng.integers(1, 12, (num_instances, n))
    least = (prompt + output).max(axis=-1)
    inst = js.Instance.from_lengths(
        prompt, output, kv_capacity=least + rng.integers(0, 60, num_instances)
    )
    return inst, rng.integers(0, 5, (num_instances, n))


@pytest.mark.slow
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
def test_ten_thousand_backlogs_are_served_as_simulated(admission):
    inst, priority = backlogs(10_000)
    sched = js.simulate(inst, priority, admission=admission)
    server = js.Server(
        kv_capacity=inst.kv_capacity,
        block_size=1,
        max_num_batched_tokens=2**30,
        admission=admission,
        preemption="never",
    )
    out = js.serve(inst.as_requests().replace(priority=priority), server, "priority")
    assert (out.status == js.Status.OK).all()
    np.testing.assert_array_equal(out.first_token_s, np.asarray(sched.start) + 1)
    np.testing.assert_array_equal(out.completion_s, sched.completion)
