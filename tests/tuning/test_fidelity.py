"""What is said of an estimator, against samples whose mean and spread are known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.tuning import Reference, fidelity, reference_gradient
from tests.tuning import toy

KEY = jax.random.key(2)
INSTANCES = toy.instances(3, batch=4, n=20)
TRUTH = Reference(np.array([3.0, -4.0]), halves_cosine=1.0, halves_evened=1.0, simulations=8)
FEATURES = ("log_prompt", "log_output", "log_volume")


@chex.dataclass(frozen=True)
class Known:
    """Normal around a mean, with a standard deviation."""

    mean: jax.Array
    deviation: float = 0.0
    simulations: int = 5

    def __call__(self, rule, instances, key):
        noise = self.deviation * jax.random.normal(key, self.mean.shape)
        return toy.Found(jnp.zeros(()), toy.Tilted(weights=self.mean + noise), {})


def judged(estimator, repeats=64, reference=TRUTH):
    return fidelity(toy.start(), estimator, INSTANCES, KEY, reference=reference, repeats=repeats)


def test_an_exact_estimator():
    found = judged(Known(mean=jnp.array([3.0, -4.0])))
    for figure in (found.cosine, found.sign_agreement):
        np.testing.assert_allclose(figure, 1.0, rtol=1e-6)
    np.testing.assert_allclose(found.bias, 0.0, atol=1e-6)
    np.testing.assert_allclose(found.variance, 0.0, atol=1e-9)
    assert found.simulations == 5
    assert found.seconds > 0


def test_a_biased_estimator_without_noise():
    found = judged(Known(mean=jnp.array([3.0, 4.0])))
    np.testing.assert_allclose(found.cosine, (9 - 16) / 25, rtol=1e-6)
    np.testing.assert_allclose(found.sign_agreement, 0.5)
    np.testing.assert_allclose(found.bias, 8 / 5, rtol=1e-6)


def test_intervals_hold_bias_and_variance_of_a_noisy_estimator():
    found = judged(Known(mean=jnp.array([3.0, -2.0]), deviation=1.5), repeats=400)
    for interval, expected in ((found.bias, 2 / 5), (found.variance, 2 * 1.5**2 / 25)):
        assert interval.low < expected < interval.high
        assert interval.high - interval.low < 0.3


def test_the_reference_stops_when_its_halves_agree():
    rule = js.policies.linear_score(FEATURES, (0.5, 0.2, 0.0))
    found = reference_gradient(rule, INSTANCES, KEY, agreement=0.9)
    assert min(found.halves_cosine, found.halves_evened) >= 0.9
    cut_short = reference_gradient(rule, INSTANCES, KEY, agreement=1.1, max_simulations=300)
    assert 300 <= cut_short.simulations < 600


@chex.dataclass(frozen=True)
class Hundredfold:
    """A linear score whose first weight counts a hundredfold."""

    weights: jax.Array

    def __call__(self, inst):
        weights = self.weights * jnp.array([100.0, 1.0, 1.0])
        return js.policies.LinearScore(weights=weights, features=FEATURES)(inst)


def test_evened_cosines_do_not_depend_on_the_units_of_the_parameters():
    weights = jnp.array([0.5, 0.2, 0.1])
    plain = js.policies.LinearScore(weights=weights, features=FEATURES)
    found = []
    for rule in (plain, Hundredfold(weights=weights / jnp.array([100.0, 1.0, 1.0]))):
        reference = reference_gradient(rule, INSTANCES, KEY, max_simulations=300)
        relaxed = js.tuning.Pathwise(jnp.float32(0.2))
        found.append(fidelity(rule, relaxed, INSTANCES, KEY, reference=reference, repeats=2))
    np.testing.assert_allclose(found[0].evened_cosine, found[1].evened_cosine, rtol=1e-3)
    assert abs(found[0].cosine.mean - found[1].cosine.mean) > 1e-3


def test_an_estimator_may_return_a_plain_tuple():
    known = Known(mean=jnp.array([3.0, 4.0]), deviation=1.5)

    def plain(rule, instances, key):
        return tuple(known(rule, instances, key))

    plain.simulations = known.simulations
    for name, value in judged(plain, repeats=4)._asdict().items():
        if name != "seconds":
            assert value == getattr(judged(known, repeats=4), name)


def test_an_estimator_with_schedules_is_judged_as_at_the_start():
    rule = js.policies.linear_score(FEATURES, (0.5, 0.2, 0.1))
    truth = reference_gradient(rule, INSTANCES, KEY, max_simulations=300)
    cosines = [
        fidelity(rule, js.tuning.Pathwise(temperature), INSTANCES, KEY, reference=truth, repeats=2)
        for temperature in (jnp.float32(0.2), lambda step: 0.2 / (1 + step))
    ]
    assert cosines[0].cosine == cosines[1].cosine


class TestErrors:
    def test_one_repeat(self):
        with pytest.raises(ValueError, match="repeats is 1; expected an integer >= 2"):
            judged(Known(mean=jnp.zeros(2)), repeats=1)

    def test_an_estimator_that_does_not_say_what_it_costs(self):
        with pytest.raises(TypeError, match="estimator 'Towards' has no attribute simulations"):
            judged(toy.towards_volume())
