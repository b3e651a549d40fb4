"""Relaxations against request-by-request sums, and their limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.tuning.relaxations import memory_balance, soft_sort, straight_through, work_ahead
from tests.reference.strict_order import strict_order

# More rows than a block, which they do not fill; and padding.
LONG = js.workloads.mixed(jax.random.key(0), num_requests=150)
PADDED = js.stack([js.Instance.from_lengths([3, 1, 9], [2, 4, 1], kv_capacity=12), LONG])
SMALL = js.stack(
    [
        js.Instance.from_lengths([3, 1, 9], [2, 4, 1], kv_capacity=12),
        js.Instance.from_lengths([1, 6, 2, 3, 9, 1, 4], [5, 2, 7, 3, 1, 8, 4], kv_capacity=14),
        js.Instance.from_lengths(
            [2, 7, 1, 1, 5, 3, 8, 2, 4, 1, 6, 2],
            [9, 1, 3, 7, 2, 8, 1, 6, 4, 2, 5, 3],
            kv_capacity=20,
        ),
    ]
)


def volumes_ahead(inst, score):
    """Completions of the limit of work_ahead, in plain Python."""
    prompt, output = (
        np.asarray(tokens, float) for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    volume = prompt * output + output * (output + 1) / 2
    rows = [i for i in range(len(prompt)) if inst.is_real[i]]
    return {
        i: (sum(volume[j] for j in rows if score[j] < score[i]) + volume[i] / 2)
        / float(inst.kv_capacity)
        + output[i]
        for i in rows
    }


@pytest.mark.parametrize("row", [0, 1], ids=["padded", "full"])
def test_limit_of_a_cold_work_ahead(row):
    inst = jax.tree.map(lambda leaf: leaf[row], PADDED)
    score = np.random.default_rng(row).permutation(150).astype(np.float32)
    found = np.asarray(work_ahead(jnp.asarray(score), inst, jnp.float32(1e-3)).completion)
    for i, expected in volumes_ahead(inst, score).items():
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)


@pytest.mark.parametrize("row", [0, 1], ids=["padded", "full"])
@pytest.mark.parametrize("relaxation", [memory_balance, soft_sort, straight_through])
def test_limit_when_cold_is_the_simulated_schedule(relaxation, row):
    inst = jax.tree.map(lambda leaf: leaf[row], PADDED)
    score = np.random.default_rng(row).permutation(150).astype(np.float32)
    found = np.asarray(relaxation(jnp.asarray(score), inst, jnp.float32(1e-3)).completion)
    expected = np.asarray(js.simulate(inst, score).completion)
    np.testing.assert_allclose(found[inst.is_real], expected[inst.is_real], rtol=1e-5)


def direct_work_ahead(score, inst, temperature):
    """The same sums without blocks, for jax to differentiate."""
    before = jax.nn.sigmoid((score[:, None] - score[None]) / temperature)
    ahead = jnp.sum(before * jnp.where(inst.is_real, inst.volume, 0.0)[None], axis=1)
    start = ahead / inst.kv_capacity.astype(jnp.float32)
    return js.Outcome.relaxed(inst, start + inst.output_tokens.astype(jnp.float32))


def weighed(relaxation, inst, score):
    """A mean over the requests in which each has its own weight."""
    weight = jnp.where(inst.is_real, jnp.linspace(0.5, 2.0, score.shape[0]), 0.0)
    return jnp.mean(weight * relaxation(score, inst, jnp.float32(0.3)).completion)


@pytest.mark.parametrize("n", [150, pytest.param(2000, marks=pytest.mark.slow)])
def test_blocks_have_the_gradient_of_the_direct_sums(n):
    inst = js.workloads.mixed(jax.random.key(0), num_requests=n)
    score = jnp.asarray(np.random.default_rng(3).normal(size=n), jnp.float32)
    found, expected = (
        jax.grad(functools.partial(weighed, relaxation, inst))(score)
        for relaxation in (work_ahead, direct_work_ahead)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", [work_ahead, memory_balance])
def test_the_gradient_is_the_same_in_a_program_that_holds_the_instances(relaxation):
    """As constants of a compiled program, which once lost the gradient altogether."""
    insts = js.workloads.mixed(jax.random.key(8), num_requests=200, batch=4)
    score = jnp.asarray(np.random.default_rng(9).normal(size=(4, 200)), jnp.float32)

    def slopes(score):
        return jax.vmap(jax.grad(lambda each, inst: weighed(relaxation, inst, each)))(score, insts)

    np.testing.assert_allclose(jax.jit(slopes)(score), slopes(score), rtol=1e-3, atol=1e-6)


def balanced(inst, score, temperature, start):
    """Memory balance request by request, from given starts."""
    rows = [i for i in range(len(score)) if inst.is_real[i]]
    prompt, output = (
        np.asarray(tokens, float) for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    capacity = float(inst.kv_capacity)

    def held(j, rounds):
        return sum(prompt[j] + age for age in range(1, int(min(rounds, output[j])) + 1))

    volume = {j: held(j, output[j]) for j in rows}
    last = max(start[j] for j in rows)
    idle = capacity * last - sum(held(j, last - start[j]) for j in rows)
    completion = {}
    for i in rows:
        change = 0.0
        for j in rows:
            if j != i:
                is_before = 1 / (1 + np.exp(-(score[i] - score[j]) / temperature))
                cost = held(j, abs(start[i] - start[j])) + idle / sum(volume.values()) * volume[j]
                change += (is_before - ((score[j], j) < (score[i], i))) * cost
        completion[i] = start[i] + output[i] + change / capacity
    return completion


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 1, 2], ids=["short", "padded", "full"])
def test_memory_balance_is_the_sum_over_pairs(row):
    inst = jax.tree.map(lambda leaf: leaf[row], SMALL)
    score = np.random.default_rng(row).normal(size=12).astype(np.float32)
    rows = np.flatnonzero(inst.is_real)
    start = np.zeros(12)
    start[rows] = strict_order(
        np.asarray(inst.prompt_tokens)[rows].tolist(),
        np.asarray(inst.output_tokens)[rows].tolist(),
        int(inst.kv_capacity),
        np.argsort(score[rows]).tolist(),
    )
    found = memory_balance(jnp.asarray(score), inst, jnp.float32(0.5)).completion
    for i, expected in balanced(inst, score.astype(float), 0.5, start).items():
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)
    # Between changes of order the starts stay, and the slopes are those of the sum.
    weight = np.where(inst.is_real, np.linspace(0.5, 2.0, 12), 0.0)

    def weighed_sum(score):
        completion = memory_balance(score, inst, 0.5).completion
        return jnp.sum(jnp.asarray(weight, jnp.float32) * completion)

    slopes = jax.grad(weighed_sum)(jnp.asarray(score))
    for i in rows:
        moved = [score.astype(float) + step * np.eye(12)[i] for step in (1e-5, -1e-5)]
        ends = [balanced(inst, each, 0.5, start) for each in moved]
        quotient = sum(weight[j] * (ends[0][j] - ends[1][j]) for j in rows) / 2e-5
        np.testing.assert_allclose(slopes[i], quotient, rtol=1e-2, atol=1e-2)


def test_requests_that_run_side_by_side_cost_each_other_nothing():
    """Whatever their volumes: an order of requests that all fit at once changes nothing."""
    inst = js.Instance.from_lengths([30, 1, 5], [9, 4, 20], kv_capacity=100)
    score = jnp.array([0.3, 0.1, 0.2])
    found, pull_back = jax.vjp(lambda score: memory_balance(score, inst, 0.5).completion, score)
    assert found.tolist() == [9.0, 4.0, 20.0]
    assert pull_back(jnp.ones(3))[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.slow
def test_memory_that_lies_idle_costs_those_behind():
    """Of 100 tokens, requests that fit one at a time hold 555 in 10 rounds, and 445 lie idle."""
    inst = js.Instance.from_lengths([50] * 8, [10] * 8, kv_capacity=100)
    score = jnp.arange(8.0)

    def cost_of_the_last(relaxation):
        slope = jax.grad(lambda z: relaxation(z, inst, jnp.float32(2.0)).completion[6])(score)[7]
        return float(-slope / jax.grad(lambda z: jax.nn.sigmoid(z / 2))(1.0))

    np.testing.assert_allclose(cost_of_the_last(work_ahead), 5.55, rtol=1e-4)
    # Seven of the eight have idle memory before a start behind them.
    np.testing.assert_allclose(cost_of_the_last(memory_balance), 5.55 + 4.45 * 7 / 8, rtol=1e-4)
    score_first = jnp.where(score == 7, -1.0, score)
    delay = js.simulate(inst, score_first).completion - js.simulate(inst, score).completion
    assert delay[:7].tolist() == [10] * 7


def test_the_least_of_a_cold_work_ahead_is_the_volume_order():
    inst = js.workloads.mixed(jax.random.key(5), num_requests=30)
    total = functools.partial(work_ahead, inst=inst, temperature=jnp.float32(1e-4))
    by_volume = jnp.mean(total(jnp.log(inst.volume)).completion)
    generator = np.random.default_rng(6)
    for _ in range(50):
        swapped = np.asarray(jnp.log(inst.volume)).copy()
        i, j = generator.choice(30, 2, replace=False)
        swapped[[i, j]] = swapped[[j, i]]
        assert jnp.mean(total(jnp.asarray(swapped)).completion) >= by_volume * (1 - 1e-6)
