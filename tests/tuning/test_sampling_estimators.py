"""Estimators that simulate, against every order of a few requests and against each other."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from jaxsched.tuning import relaxations

TINY = js.Instance.from_lengths([5, 1, 3, 2], [2, 6, 1, 4], kv_capacity=9)
RULE = js.policies.linear_score(("log_prompt", "log_output"), (0.4, 0.1))
KEY = jax.random.key(11)
TEMPERATURE = 0.7


def copies(count):
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], count, axis=0), TINY)


def value_of(order):
    position = np.argsort(order).astype(np.int32)
    return float(js.tuning.mean_latency(TINY, js.simulate(TINY, jnp.asarray(position))))


ORDERS = [(np.array(order), value_of(order)) for order in itertools.permutations(range(4))]


def expectation(weights):
    """Expected value over all orders under the Plackett-Luce law, in float64."""
    table = np.log([[5, 2], [1, 6], [3, 1], [2, 4]])
    score = table @ weights
    worth = np.exp(-score / score.std() / TEMPERATURE)
    total = 0.0
    for order, value in ORDERS:
        left = worth[order]
        total += value * np.prod([left[k] / left[k:].sum() for k in range(4)])
    return total


@pytest.mark.slow
def test_plackett_luce_is_the_slope_of_the_expectation_over_all_orders():
    estimator = js.tuning.PlackettLuce(temperature=jnp.float32(TEMPERATURE), samples=16)
    found = estimator(RULE, copies(8192), KEY)
    at = np.asarray(RULE.weights, np.float64)
    np.testing.assert_allclose(found.value, expectation(at), rtol=5e-3)
    slopes = [
        (expectation(at + move) - expectation(at - move)) / 2e-5 / expectation(at)
        for move in 1e-5 * np.eye(2)
    ]
    np.testing.assert_allclose(found.gradient.weights, slopes, rtol=0.05, atol=3e-3)


@pytest.mark.slow
def test_the_guide_leaves_the_mean_alone():
    """Plain and guided noise estimate one thing, each within its own error."""
    guided = js.tuning.GuidedNoise(noise=jnp.float32(2.5), temperature=jnp.float32(2.5), pairs=8)
    plain = js.tuning.ScoreNoise(noise=jnp.float32(2.5), pairs=8)
    found = [each(RULE, copies(8192), KEY).gradient.weights for each in (guided, plain)]
    other = plain(RULE, copies(8192), jax.random.key(12)).gradient.weights
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)
    np.testing.assert_allclose(found[1], other, atol=2e-2)


@pytest.mark.slow
def test_a_lone_instance_gets_no_guide():
    guided = js.tuning.GuidedNoise(noise=jnp.float32(0.5), temperature=jnp.float32(0.5))
    plain = js.tuning.ScoreNoise(noise=jnp.float32(0.5))
    found, expected = (each(RULE, copies(1), KEY) for each in (guided, plain))
    assert found.diagnostics["coefficient"].tolist() == [0.0]
    np.testing.assert_allclose(found.gradient.weights, expected.gradient.weights, rtol=1e-5)


ALL = {
    **{
        relaxation.__name__: js.tuning.Pathwise(jnp.float32(0.2), relaxation)
        for relaxation in (
            relaxations.work_ahead,
            relaxations.memory_balance,
            relaxations.soft_sort,
            relaxations.straight_through,
        )
    },
    "tangent_noise": js.tuning.TangentNoise(noise=jnp.float32(0.1)),
    "score_noise": js.tuning.ScoreNoise(noise=jnp.float32(0.2)),
    "guided_noise": js.tuning.GuidedNoise(noise=jnp.float32(0.2), temperature=jnp.float32(0.2)),
    "plackett_luce": js.tuning.PlackettLuce(temperature=jnp.float32(0.2)),
    "evolution_strategies": js.tuning.EvolutionStrategies(noise=jnp.float32(0.2)),
    "random_search": js.tuning.RandomSearch(noise=jnp.float32(0.2)),
}
UNRELIABLE = {"random_search", "soft_sort", "straight_through"}
PADDED = js.workloads.uniform(jax.random.key(1), batch=3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "rule",
    [RULE, pytest.param(js.policies.mlp_score(hidden=3), marks=pytest.mark.slow)],
    ids=["linear_score", "mlp_score"],
)
def test_gives_a_finite_gradient_like_the_rule_for_padded_instances(name, rule):
    found = ALL[name](rule, PADDED, KEY)
    assert jax.tree.structure(found.gradient) == jax.tree.structure(rule)
    for leaf, slope in zip(jax.tree.leaves(rule), jax.tree.leaves(found.gradient), strict=True):
        assert slope.shape == leaf.shape
        assert np.isfinite(slope).all()
    assert found.value.shape == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_runs_inside_jit_with_the_same_result(name):
    expected = ALL[name](RULE, PADDED, KEY)
    found = jax.jit(ALL[name])(RULE, PADDED, KEY)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-5)
    np.testing.assert_allclose(
        found.gradient.weights, expected.gradient.weights, rtol=1e-3, atol=1e-5
    )


@pytest.mark.jax_defaults  # optax promotes dtypes
@pytest.mark.parametrize("name", ["tangent_noise", "plackett_luce"])
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_a_step_is_one_program_that_never_asks_the_host(name, platform):
    clock = js.clock.PRESETS["llama2_70b_2xa100"]
    objective = functools.partial(js.tuning.p99_latency, clock=clock)
    estimator = dataclasses.replace(ALL[name], objective=objective)
    optimizer = optax.adam(0.05)

    def step(rule, state, instances, key):
        value, gradient, _ = estimator(rule, instances, key)
        moves, state = optimizer.update(gradient, state)
        return optax.apply_updates(rule, moves), state, value

    given = RULE, optimizer.init(RULE), PADDED, KEY
    traced = jax.jit(step).trace(*given)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    for trip in ("callback", "infeed", "outfeed", "SendToHost", "RecvFromHost"):
        assert trip not in text


@pytest.mark.parametrize("name", [name for name in ALL if name not in UNRELIABLE])
def test_points_uphill(name):
    """From shortest prompt first: outputs ought to count as well."""
    inst = js.workloads.mixed(jax.random.key(2), num_requests=40, batch=64)
    rule = js.policies.linear_score(("log_output", "log_prompt"), (0.0, 1.0))
    assert ALL[name](rule, inst, KEY).gradient.weights[0] < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ALL) - UNRELIABLE - {"evolution_strategies"}))
def test_the_scale_of_the_scores_does_not_matter(name):
    """Neither does it matter for an order, so gradients of wider scores are smaller as a whole."""
    inst = js.workloads.mixed(jax.random.key(2), num_requests=40, batch=4)
    one, wide = (
        ALL[name](js.policies.linear_score(RULE.features, weights), inst, KEY).gradient.weights
        for weights in ((0.4, 0.1), (4.0, 1.0))
    )
    np.testing.assert_allclose(one, 10 * wide, rtol=1e-3)
    np.testing.assert_allclose(one @ np.array([0.4, 0.1]), 0, atol=1e-5)


@pytest.mark.slow
def test_tangent_noise_varies_less_than_noise_on_every_score():
    inst = js.workloads.mixed(jax.random.key(2), num_requests=40, batch=4)

    def spread(name):
        estimator = dataclasses.replace(ALL[name], noise=jnp.float32(0.1))
        keys = jax.random.split(KEY, 16)
        found = np.stack([estimator(RULE, inst, key).gradient.weights for key in keys])
        return found.var(axis=0).sum() / np.sum(found.mean(axis=0) ** 2)

    assert spread("tangent_noise") < 0.25 * spread("score_noise")


def test_tangent_noise_takes_one_sample_of_many_directions():
    rule = js.policies.mlp_score(("log_prompt", "log_output"), hidden=8)
    found = js.tuning.TangentNoise(noise=jnp.float32(1.0), pairs=1)(rule, copies(1), KEY)
    slopes = [np.asarray(leaf) for leaf in jax.tree.leaves(found.gradient)]
    assert all(np.isfinite(leaf).all() for leaf in slopes)
    assert max(np.abs(leaf).max() for leaf in slopes) > 1e-3  # more than rounding


@pytest.mark.slow
def test_every_instance_has_a_say_in_the_directions():
    """A lone request comes first, whose scores no parameter can spread."""
    lone = js.Instance.from_lengths([5], [3], kv_capacity=16492)
    inst = js.stack([lone, js.workloads.mixed(jax.random.key(5), num_requests=600)])
    found = ALL["tangent_noise"](RULE, inst, KEY).gradient.weights
    assert np.all(np.asarray(found) != 0)


def test_adding_a_number_to_all_scores_changes_nothing():
    inst = js.workloads.mixed(jax.random.key(2), num_requests=40, batch=4)
    plain = js.policies.linear_score(("log_output", "log_prompt"), (0.04, 0.01))

    @chex.dataclass(frozen=True)
    class Shifted:
        weights: jax.Array

        def __call__(self, inst):
            return js.policies.LinearScore(self.weights, plain.features)(inst) + 1000.0

    one, other = (
        ALL["score_noise"](rule, inst, KEY).gradient.weights
        for rule in (plain, Shifted(weights=plain.weights))
    )
    np.testing.assert_allclose(one, other, rtol=0.1)


@pytest.mark.slow
@pytest.mark.jax_defaults
def test_tangent_noise_takes_rules_of_float64():
    with jax.enable_x64(True):
        rule = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), js.policies.mlp_score(hidden=6))
        found = js.tuning.default_estimator()(rule, PADDED, KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(found.gradient)} == {jnp.dtype("float64")}


def test_a_parameter_that_changes_no_order_has_no_slope():
    """One feature alone: its weight scales the scores, which the order ignores."""
    rule = js.policies.linear_score(("log_output",), (2.0,))
    found = js.tuning.TangentNoise(noise=jnp.float32(0.1))(rule, PADDED, KEY)
    np.testing.assert_allclose(found.gradient.weights, [0.0], atol=1e-3)


def test_relaxations_that_start_from_a_schedule_count_its_simulation():
    counted = {name: ALL[name].simulations for name in ("work_ahead", "memory_balance")}
    assert counted == {"work_ahead": 0, "memory_balance": 1}
    assert js.tuning.GuidedNoise(noise=0.1, pairs=2).simulations == 5
    plain = js.tuning.GuidedNoise(noise=0.1, pairs=2, relaxation=relaxations.work_ahead)
    assert plain.simulations == 4


def test_one_sample_has_no_baseline():
    with pytest.raises(ValueError, match="samples is 1; a leave-one-out baseline needs 2"):
        js.tuning.PlackettLuce(temperature=1.0, samples=1)(RULE, copies(2), KEY)
