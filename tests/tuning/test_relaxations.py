"""Relaxations against request-by-request sums, and their limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.tuning.relaxations import fluid, soft_sort, straight_through, work_ahead

# More rows than a block, which they do not fill; and padding.
LONG = js.workloads.mixed(jax.random.key(0), num_requests=150)
PADDED = js.stack([js.Instance.from_lengths([3, 1, 9], [2, 4, 1], kv_capacity=12), LONG])


def hard(inst, score, sees_overlap):
    """Completions of the limit, in plain Python."""
    prompt, output = (
        np.asarray(tokens, float) for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    volume = prompt * output + output * (output + 1) / 2
    rows = [i for i in range(len(prompt)) if inst.is_real[i]]
    capacity = float(inst.kv_capacity)
    ahead = {}
    for i in rows:
        ahead[i] = sum(volume[j] for j in rows if score[j] < score[i]) / capacity
        ahead[i] += volume[i] / 2 / capacity
    if not sees_overlap:
        return {i: ahead[i] + output[i] for i in rows}
    completion = {}
    for i in rows:
        work = 0.0
        for j in rows:
            if score[j] < score[i]:
                ran = min(ahead[i] - ahead[j], output[j])
                work += prompt[j] * ran + 0.5 * ran * (ran + min(ran, 1))
        completion[i] = work / capacity + output[i]
    return completion


@pytest.mark.parametrize("row", [0, 1], ids=["padded", "full"])
@pytest.mark.parametrize(("relaxation", "sees_overlap"), [(work_ahead, False), (fluid, True)])
def test_limit_of_a_cold_relaxation(relaxation, sees_overlap, row):
    inst = jax.tree.map(lambda leaf: leaf[row], PADDED)
    score = np.random.default_rng(row).permutation(150).astype(np.float32)
    found = np.asarray(relaxation(jnp.asarray(score), inst, jnp.float32(1e-3)))
    for i, expected in hard(inst, score, sees_overlap).items():
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)


@pytest.mark.parametrize("row", [0, 1], ids=["padded", "full"])
@pytest.mark.parametrize("relaxation", [soft_sort, straight_through])
def test_limit_of_cold_turns_is_the_simulated_schedule(relaxation, row):
    inst = jax.tree.map(lambda leaf: leaf[row], PADDED)
    score = np.random.default_rng(row).permutation(150).astype(np.float32)
    found = np.asarray(relaxation(jnp.asarray(score), inst, jnp.float32(1e-3)))
    expected = np.asarray(js.simulate(inst, score).completion)
    np.testing.assert_allclose(found[inst.is_real], expected[inst.is_real], rtol=1e-5)


def direct_work_ahead(score, inst, temperature):
    """The same sums without blocks, for jax to differentiate."""
    before = jax.nn.sigmoid((score[:, None] - score[None]) / temperature)
    ahead = jnp.sum(before * jnp.where(inst.is_real, inst.volume, 0.0)[None], axis=1)
    return ahead / inst.kv_capacity.astype(jnp.float32) + inst.output_tokens.astype(jnp.float32)


def weighed(relaxation, inst, score):
    """A mean over the requests in which each has its own weight."""
    weight = jnp.where(inst.is_real, jnp.linspace(0.5, 2.0, score.shape[0]), 0.0)
    return jnp.mean(weight * relaxation(score, inst, jnp.float32(0.3)))


@pytest.mark.parametrize("n", [150, 2000])
def test_blocks_have_the_gradient_of_the_direct_sums(n):
    inst = js.workloads.mixed(jax.random.key(0), num_requests=n)
    score = jnp.asarray(np.random.default_rng(3).normal(size=n), jnp.float32)
    found, expected = (
        jax.grad(functools.partial(weighed, relaxation, inst))(score)
        for relaxation in (work_ahead, direct_work_ahead)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("relaxation", [work_ahead, fluid])
def test_the_gradient_is_the_same_in_a_program_that_holds_the_instances(relaxation):
    """As constants of a compiled program, which once lost the gradient altogether."""
    insts = js.workloads.mixed(jax.random.key(8), num_requests=200, batch=4)
    score = jnp.asarray(np.random.default_rng(9).normal(size=(4, 200)), jnp.float32)

    def slopes(score):
        return jax.vmap(jax.grad(lambda each, inst: weighed(relaxation, inst, each)))(score, insts)

    np.testing.assert_allclose(jax.jit(slopes)(score), slopes(score), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("relaxation", [work_ahead, fluid])
def test_blocks_leave_the_gradient_alone(relaxation):
    score = jnp.asarray(np.random.default_rng(3).normal(size=150), jnp.float32)

    def value(score):
        return jnp.mean(relaxation(score, LONG, jnp.float32(0.3)))

    slopes = jax.grad(value)(score)
    direction = jnp.asarray(np.random.default_rng(4).normal(size=150), jnp.float32)
    step = jnp.float32(1e-2)
    quotient = (value(score + step * direction) - value(score - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.sum(slopes * direction), quotient, rtol=5e-2)  # kinks


def test_the_least_of_a_cold_work_ahead_is_the_volume_order():
    inst = js.workloads.mixed(jax.random.key(5), num_requests=30)
    total = functools.partial(work_ahead, inst=inst, temperature=jnp.float32(1e-4))
    by_volume = jnp.mean(total(jnp.log(inst.volume)))
    generator = np.random.default_rng(6)
    for _ in range(50):
        swapped = np.asarray(jnp.log(inst.volume)).copy()
        i, j = generator.choice(30, 2, replace=False)
        swapped[[i, j]] = swapped[[j, i]]
        assert jnp.mean(total(jnp.asarray(swapped))) >= by_volume * (1 - 1e-6)
