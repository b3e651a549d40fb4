"""Estimators against slopes by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.tuning import toy

KEY = jax.random.key(5)
INSTANCES = toy.instances(7, batch=4, n=12)
PADDED = js.workloads.uniform(jax.random.key(6), batch=3)


def work_ahead(weights, inst, temperature):
    """Mean latency of one instance under the relaxation, request by request."""
    prompt, output = (
        np.asarray(tokens, float)[np.asarray(inst.is_real)]
        for tokens in (inst.prompt_tokens, inst.output_tokens)
    )
    volume = prompt * output + output * (output + 1) / 2
    score = weights[0] * np.log(volume) + weights[1] * np.log(prompt)
    score = score / score.std()
    completion = []
    for z, o in zip(score, output, strict=True):
        before = sum(
            v / (1 + np.exp(-(z - y) / temperature)) for y, v in zip(score, volume, strict=True)
        )
        completion.append(before / float(inst.kv_capacity) + o)
    return np.mean(completion)


@pytest.mark.parametrize("inst", [INSTANCES, PADDED], ids=["full", "padded"])
def test_work_ahead_is_the_slope_of_the_mean_logarithm(inst):
    estimator = js.tuning.Pathwise(jnp.float32(0.5), js.tuning.relaxations.work_ahead)
    at = np.array([0.6, 0.3])
    found = estimator(toy.Tilted(weights=jnp.asarray(at, jnp.float32)), inst, KEY)
    rows = [jax.tree.map(lambda leaf, row=row: leaf[row], inst) for row in range(len(inst.is_real))]
    np.testing.assert_allclose(
        found.value, np.mean([work_ahead(at, row, 0.5) for row in rows]), rtol=1e-4
    )
    step = 1e-5
    for axis in range(2):
        move = step * np.eye(2)[axis]
        slope = np.mean(
            [
                np.log(work_ahead(at + move, row, 0.5) / work_ahead(at - move, row, 0.5))
                for row in rows
            ]
        ) / (2 * step)
        np.testing.assert_allclose(found.gradient.weights[axis], slope, rtol=2e-3, atol=1e-5)


@pytest.mark.slow
def test_score_noise_is_the_slope_of_the_smoothed_simulator():
    """Against common random numbers: the smoothed objective, at parameters moved either way."""
    one = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4096, axis=0), INSTANCES)
    noise, step = 1.0, 0.2
    estimator = js.tuning.ScoreNoise(noise=jnp.float32(noise), pairs=4)
    at = jnp.array([0.2, 0.5])
    found = estimator(toy.Tilted(weights=at), one, KEY)
    shift = noise * jax.random.normal(jax.random.key(9), (8, *one.prompt_tokens.shape))

    def smoothed(weights):
        score = jax.vmap(toy.Tilted(weights=weights))(one)
        unit = jnp.std(score, axis=-1, keepdims=True)
        sched = jax.vmap(lambda each: js.simulate(one, score + unit * each))(shift)
        return np.log(float(jnp.mean(sched.completion.astype(jnp.float32))))

    for axis in range(2):
        move = step * jnp.eye(2)[axis]
        slope = (smoothed(at + move) - smoothed(at - move)) / (2 * step)
        np.testing.assert_allclose(found.gradient.weights[axis], slope, rtol=0.1)


@pytest.mark.slow
def test_tangent_noise_is_the_slope_of_the_smoothed_simulator():
    """Likewise, with normal steps of three parameters for noise as well; two of them remain."""
    one = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], 4096, axis=0), INSTANCES)
    noise, move = 1.0, 0.2
    rule = js.policies.linear_score(("log_volume", "log_prompt", "log_output"), (0.2, 0.5, 0.1))
    found = js.tuning.TangentNoise(noise=jnp.float32(noise), pairs=4)(rule, one, KEY)
    lengths = np.stack([one.volume[0], one.prompt_tokens[0], one.output_tokens[0]], axis=1)
    table = np.log(lengths.astype(float))
    table -= table.mean(axis=0)
    at = np.asarray(rule.weights, float)
    score = table @ at
    unit = score.std()
    across = table - np.outer(score, score @ table) / (score @ score)  # spreads nothing
    values, vectors = np.linalg.eigh(across.T @ across / len(score) / unit**2)
    values, vectors = values[1:], vectors[:, 1:]
    deviation = noise / np.sqrt(2 * np.sqrt(values).sum()) * values**-0.25
    generator = np.random.default_rng(8)
    shift = noise * unit * generator.normal(size=(8, *one.prompt_tokens.shape))
    steps = deviation * generator.normal(size=(8, 4096, 2))
    shift += steps @ (across @ vectors).T

    def smoothed(weights):
        priority = jnp.asarray(table @ weights + shift, jnp.float32)
        sched = jax.vmap(lambda each: js.simulate(one, each))(priority)
        return np.log(float(jnp.mean(sched.completion.astype(jnp.float32))))

    steps = move * np.eye(3)
    slopes = [(smoothed(at + step) - smoothed(at - step)) / (2 * move) for step in steps]
    np.testing.assert_allclose(found.gradient.weights, slopes, rtol=0.1, atol=2e-3)


def test_score_noise_takes_any_objective():
    clock = js.clock.PRESETS["llama2_70b_2xa100"]

    def seconds(inst, sched):
        return js.tuning.p99_latency(inst, sched, clock=clock)

    estimator = js.tuning.ScoreNoise(noise=jnp.float32(0.3), objective=seconds)
    found = estimator(toy.start(), INSTANCES, KEY)
    assert np.isfinite(found.gradient.weights).all()
    assert 0 < found.value < 1000
