"""The GPU kernel of earliest fit without a GPU: interpreted, it gives what simulate gives."""

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.offline.gpu.dispatch import earliest_fit_form_of
from jaxsched.engine.offline.gpu.kernel import earliest_fit_start_rounds
from tests.engine.test_gpu_kernel import by_request, extreme_instances, queued, random_instances

INTERPRETED = jax.jit(earliest_fit_start_rounds, static_argnums=(0, 1))


def check(inst, priority, block_size, admission, max_num_seqs=None):
    """Compare with simulate to the round, in blocks of the given size."""
    options = {"admission": admission, "max_num_seqs": max_num_seqs}
    sched = js.simulate(inst, priority, discipline="earliest_fit", **options)
    queues, order = queued(inst, priority, max_num_seqs)
    form = earliest_fit_form_of(order.shape[-1], admission, block_size)
    start = by_request(INTERPRETED(form, "interpreter", queues), order)
    expected = np.where(inst.is_real, sched.start, 0)
    np.testing.assert_array_equal(np.where(inst.is_real, start, 0), expected)


@pytest.mark.parametrize(
    ("block_size", "admission", "is_capped"), [(8, "look_ahead", True), (16, "peak", False)]
)
def test_interpreted_it_gives_what_simulate_gives(block_size, admission, is_capped):
    rng = np.random.default_rng(block_size)
    inst, priority = random_instances(rng, 96, 20)
    check(inst, priority, block_size, admission, rng.integers(1, 16, 96) if is_capped else None)


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [8, 32])
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("cap", [None, 1, 5, "each"])
def test_interpreted_it_gives_what_simulate_gives_on_thousands(block_size, admission, cap):
    rng = np.random.default_rng(block_size)
    inst, priority = random_instances(rng, 256, 32)
    cap = rng.integers(1, 40, 256) if cap == "each" else cap
    caps = None if cap is None else np.broadcast_to(cap, 256)
    check(inst, priority, block_size, admission, caps)


@pytest.mark.slow
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("is_capped", [False, True])
@pytest.mark.parametrize("block_size", [8, 32])
def test_sums_stay_exact_at_the_limits_of_int32(admission, is_capped, block_size):
    rng = np.random.default_rng(7)
    inst, priority = extreme_instances(rng, 512, 12)
    caps = rng.integers(1, 14, 512) if is_capped else None
    check(inst, priority, block_size, admission, caps)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fcfs", "shortest_output", "smallest_volume"])
def test_long_backlogs_in_the_form_that_a_gpu_runs(rule):
    inst = jax.tree.map(
        np.asarray, js.workloads.mixed(jax.random.key(0), num_requests=400, batch=2)
    )
    check(inst, np.asarray(js.prioritize(inst, rule)), 128, "look_ahead")
