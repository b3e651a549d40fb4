"""The conformance test lets every estimator of the package pass, and no wrong one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.tuning import relaxations

NOISE = js.tuning.ScoreNoise(noise=jnp.float32(0.1), pairs=2)
SHIPPED = {
    "default": js.tuning.default_estimator(),
    "scheduled": js.tuning.ScoreNoise(noise=lambda step: 0.1 + 0.1 * step, pairs=2),
    "guided_noise": js.tuning.GuidedNoise(noise=0.1),
    "plackett_luce": js.tuning.PlackettLuce(temperature=jnp.float32(0.2)),
    "work_ahead": js.tuning.Pathwise(0.2, relaxations.work_ahead),
    "memory_balance": js.tuning.Pathwise(0.2, relaxations.memory_balance),
    "another objective": js.tuning.ScoreNoise(noise=0.1, objective=js.tuning.p99_latency),
}
CONTROLS = {
    "evolution_strategies": js.tuning.EvolutionStrategies(noise=jnp.float32(0.1)),
    "random_search": js.tuning.RandomSearch(noise=jnp.float32(0.1)),
}


def scaled(estimate, factor):
    value, gradient, _ = estimate
    return value, jax.tree.map(lambda slope: factor * slope, gradient), {}


def uphill(rule, instances, key):
    return scaled(NOISE(rule, instances, key), -1.0)


def summed_over_backlogs(rule, instances, key):
    return scaled(NOISE(rule, instances, key), 16.0)


def forgets_the_key(rule, instances, key):
    return NOISE(rule, instances, jax.random.key(np.random.default_rng().integers(2**30)))


def has_numbers_in_its_program(rule, instances, key):
    @functools.partial(jax.jit, static_argnums=0)
    def halved(weights, slopes):
        return slopes / sum(weights) * sum(weights)

    value, gradient, _ = NOISE(rule, instances, key)
    slopes = halved(tuple(rule.weights.tolist()), gradient.weights)
    return value, gradient.replace(weights=slopes), {}


def divides_by_zero(rule, instances, key):
    return scaled(NOISE(rule, instances, key), jnp.inf)


def loses_a_parameter(rule, instances, key):
    value, gradient, _ = NOISE(rule, instances, key)
    return value, gradient.replace(weights=gradient.weights[:2]), {}


def returns_a_list_of_slopes(rule, instances, key):
    value, gradient, _ = NOISE(rule, instances, key)
    return value, [gradient.weights], {}


def returns_a_value_a_backlog(rule, instances, key):
    value, gradient, _ = NOISE(rule, instances, key)
    return jnp.repeat(value, 16), gradient, {}


def sees_one_parameter(rule, instances, key):
    value, gradient, _ = NOISE(rule, instances, key)
    return value, gradient.replace(weights=gradient.weights * jnp.array([1.0, 0.0, 0.0])), {}


def returns_two(rule, instances, key):
    return NOISE(rule, instances, key)[:2]


WRONG = {
    uphill: r"cosine with the reference is -0\.\d+; expected at least 0.9",
    sees_one_parameter: "cosine with the reference is",
    summed_over_backlogs: r"mean gradient that is 1\d\.\d+ of the reference's length off",
    forgets_the_key: "for the same key; all of its randomness comes from the key",
    has_numbers_in_its_program: "compiled 1 programs anew when only numbers changed",
    divides_by_zero: "expected finite numbers",
    loses_a_parameter: r"slopes of shape \(2,\) for parameters of shape \(3,\)",
    returns_a_list_of_slopes: "expected one like the rule",
    returns_a_value_a_backlog: r"a value of shape \(16,\)",
    returns_two: "fails: TypeError: .* expected .value, gradient, diagnostics.",
}


@pytest.mark.jax_defaults
@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.__name__)
def test_a_wrong_estimator_is_rejected(wrong):
    with pytest.raises(AssertionError, match=WRONG[wrong]) as caught:
        js.testing.check_estimator(wrong)
    assert wrong.__name__ in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow) for each in SHIPPED if each != "scheduled"]
    + ["scheduled"],
)
def test_shipped_estimators_pass(name):
    repeats = {"repeats": 400} if name == "another objective" else {}  # a p99 is a noisy number
    js.testing.check_estimator(SHIPPED[name], **repeats)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_controls_pass_with_what_they_promise(name):
    js.testing.check_estimator(CONTROLS[name], min_cosine=0.3, max_bias=np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("relaxation", ["soft_sort", "straight_through"])
def test_relaxations_that_point_elsewhere_do_not(relaxation):
    estimator = js.tuning.Pathwise(0.2, getattr(relaxations, relaxation))
    with pytest.raises(AssertionError, match="'Pathwise' has a mean gradient"):
        js.testing.check_estimator(estimator)
