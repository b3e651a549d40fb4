"""Relaxations against request-by-request sums, and their limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.tuning.relaxations import fluid, work_ahead

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
