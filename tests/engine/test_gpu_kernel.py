"""The GPU kernel without a GPU: interpreted, it gives what simulate gives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.engine.contract import Queues
from jaxsched.engine.offline.gpu import dispatch
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.gpu.dispatch import exact_start_rounds
from jaxsched.engine.offline.gpu.kernel import start_rounds

MAX_INT32 = 2**31 - 1
INTERPRETED = jax.jit(start_rounds, static_argnums=(0, 1))


def random_instances(rng, num_instances, n):
    """Instances of 1 to n requests with capacities of all sizes, ties in lengths and priorities."""
    sizes = rng.integers(1, n + 1, num_instances)
    capacity = np.exp(rng.uniform(np.log(2), np.log(40 * n), num_instances)).astype(int).clip(2)
    longest = rng.integers(1, 50, (num_instances, 1))
    prompt = np.minimum(rng.integers(1, longest + 1, (num_instances, n)), capacity[:, None] - 1)
    output = rng.integers(1, longest[::-1] + 1, (num_instances, n))
    output = np.where(rng.random(output.shape) < 0.05, MAX_INT32, output)  # to the last token
    output = np.minimum(output, capacity[:, None] - prompt)
    padded = [
        js.Instance.from_lengths(s[:size], o[:size], kv_capacity=int(m))
        for s, o, m, size in zip(prompt, output, capacity, sizes, strict=True)
    ]
    filler = js.Instance.from_lengths([1] * n, [1] * n, kv_capacity=2)  # fixes the shape
    inst = jax.tree.map(lambda leaf: np.asarray(leaf)[:num_instances], js.stack([*padded, filler]))
    priority = rng.choice([-np.inf, -1.5, -0.0, 0.0, 0.25, 3.0, np.inf], (num_instances, n))
    return inst, priority.astype(np.float32)


def extreme_instances(rng, num_instances, n):
    """Capacities and sums of outputs up to the limits of int32."""
    capacity = rng.integers(MAX_INT32 // 4, MAX_INT32, num_instances, endpoint=True)
    output = rng.integers(1, MAX_INT32 // n, (num_instances, n))
    output = np.minimum(output, capacity[:, None] - 1)
    prompt = rng.integers(1, capacity[:, None] - output, endpoint=True)
    inst = jax.tree.map(np.asarray, js.Instance.from_lengths(prompt, output, kv_capacity=capacity))
    return inst, rng.integers(0, 3, (num_instances, n)).astype(np.float32)


def queued(inst, priority, max_num_seqs=None):
    """The requests as kernels take them, and the order they are in."""
    order = np.argsort(np.where(priority == 0, 0, priority), axis=-1, kind="stable")

    def in_order(tokens):
        return jnp.asarray(np.take_along_axis(np.where(inst.is_real, tokens, 0), order, axis=-1).T)

    cap = None if max_num_seqs is None else jnp.asarray(max_num_seqs, jnp.int32)
    capacity = jnp.asarray(inst.kv_capacity)
    return Queues(in_order(inst.prompt_tokens), in_order(inst.output_tokens), capacity, cap), order


def by_request(start, order):
    placed = np.zeros_like(order)
    np.put_along_axis(placed, order, np.asarray(start).T, axis=-1)
    return placed


def most_running(sched, inst):
    """The most requests that run in one round, for each instance."""
    start, completion = np.asarray(sched.start), np.asarray(sched.completion)
    runs = (start[:, None] <= start[..., None]) & (completion[:, None] > start[..., None])
    return np.max(np.sum(runs & inst.is_real[:, None], axis=-1) * inst.is_real, axis=-1)


def check(inst, priority, num_slots, num_blocks, admission, max_num_seqs=None):
    """Compare with simulate to the round; returns in how many instances slots did not suffice."""
    sched = js.simulate(inst, priority, admission=admission, max_num_seqs=max_num_seqs)
    queues, order = queued(inst, priority, max_num_seqs)
    form = Form(order.shape[-1], num_slots, num_blocks, admission)
    start, overflows = INTERPRETED(form, "interpreter", queues)
    overflows = np.asarray(overflows)
    np.testing.assert_array_equal(overflows, most_running(sched, inst) > num_slots)
    is_compared = inst.is_real & ~overflows[:, None]
    expected = np.where(is_compared, sched.start, 0)
    np.testing.assert_array_equal(np.where(is_compared, by_request(start, order), 0), expected)
    return int(overflows.sum())


@pytest.mark.parametrize(
    ("num_slots", "num_blocks", "admission", "is_capped"),
    [(32, 1, "look_ahead", False), (8, 4, "look_ahead", True), (8, 2, "peak", False)],
)
def test_interpreted_it_gives_what_simulate_gives(num_slots, num_blocks, admission, is_capped):
    rng = np.random.default_rng(num_blocks)
    inst, priority = random_instances(rng, 128, 24)
    cap = rng.integers(1, 20, 128) if is_capped else None
    num_overflows = check(inst, priority, num_slots, num_blocks, admission, cap)
    assert (num_overflows > 0) == (num_slots < 24)
    assert num_overflows < 64


@pytest.mark.slow
@pytest.mark.parametrize(("num_slots", "num_blocks"), [(64, 1), (64, 8), (16, 2), (4, 4)])
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("cap", [None, 1, 7, "each"])
def test_interpreted_it_gives_what_simulate_gives_on_thousands(
    num_slots, num_blocks, admission, cap
):
    rng = np.random.default_rng(num_blocks)
    inst, priority = random_instances(rng, 512, 60)
    cap = rng.integers(1, 70, 512) if cap == "each" else cap
    caps = None if cap is None else np.broadcast_to(cap, 512)
    num_overflows = check(inst, priority, num_slots, num_blocks, admission, caps)
    assert num_overflows < 512


@pytest.mark.slow
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("is_capped", [False, True])
@pytest.mark.parametrize(("num_slots", "num_blocks"), [(16, 1), (16, 4)])
def test_sums_stay_exact_at_the_limits_of_int32(admission, is_capped, num_slots, num_blocks):
    rng = np.random.default_rng(7)
    inst, priority = extreme_instances(rng, 1024, 12)
    caps = rng.integers(1, 14, 1024) if is_capped else None
    assert check(inst, priority, num_slots, num_blocks, admission, caps) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fcfs", "shortest_output", "smallest_volume"])
def test_long_backlogs_in_the_form_that_a_gpu_runs(rule):
    inst = jax.tree.map(
        np.asarray, js.workloads.mixed(jax.random.key(0), num_requests=700, batch=6)
    )
    priority = np.asarray(js.prioritize(inst, rule))
    assert check(inst, priority, 512, 4, "look_ahead") == 0


@pytest.mark.usefixtures("x64")
def test_instances_that_run_more_than_fit_the_slots_are_scheduled_all_the_same():
    inst, priority = random_instances(np.random.default_rng(3), 64, 24)
    queues, order = queued(inst, priority)
    exact = functools.partial(exact_start_rounds, "interpreter", "look_ahead")
    start = jax.jit(functools.partial(exact, most_slots=8))(queues)
    sched = js.simulate(inst, priority)
    assert (most_running(sched, inst) > 8).any()
    expected = np.where(inst.is_real, sched.start, 0)
    np.testing.assert_array_equal(np.where(inst.is_real, by_request(start, order), 0), expected)


def test_only_instances_that_run_more_than_fit_are_scheduled_again(monkeypatch):
    inst, priority = random_instances(np.random.default_rng(3), 64, 24)
    queues, order = queued(inst, priority)
    sched = js.simulate(inst, priority)
    is_again = most_running(sched, inst) > 8

    def num_given(placement, admission, queues):
        return jnp.full_like(queues.prompt, -jnp.count_nonzero(queues.output))

    monkeypatch.setattr(dispatch, "wide", num_given)
    start = exact_start_rounds("interpreter", "look_ahead", queues, most_slots=8)
    expected = np.where(is_again[:, None], -inst.is_real[is_again].sum(), sched.start)
    found = np.where(inst.is_real, by_request(start, order), 0)
    np.testing.assert_array_equal(found, np.where(inst.is_real, expected, 0))
    assert 0 < is_again.sum() < 64
