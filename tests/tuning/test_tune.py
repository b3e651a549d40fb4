"""Descent, validation, boxes, schedules and errors of js.tune."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxsched as js
from tests.tuning import toy

KEY = jax.random.key(3)
TRAIN, HELD_OUT = toy.instances(1), toy.instances(2)


def tune(rule=None, **options):
    options = {"estimator": toy.towards_volume(), "steps": 8, "validate_every": 2} | options
    if rule is None:
        rule = toy.start()
    return js.tune(rule, train=TRAIN, validation=HELD_OUT, key=KEY, **options)


def test_descends_as_the_optimizer_says():
    found = tune(optimizer=optax.sgd(0.25), steps=4, validate_every=1)
    target = np.array([1.0, 0.0])
    away = np.array([[-1.0, 1.0]]) * 0.75 ** np.arange(5)[:, None]
    np.testing.assert_allclose(found.history.train, 0.5 * (away**2).sum(-1)[:4], rtol=1e-6)
    rules = [toy.Tilted(weights=jnp.asarray(target + row, jnp.float32)) for row in away]
    expected = [js.tuning.evaluate(HELD_OUT, rule).mean() for rule in rules]
    np.testing.assert_array_equal(found.history.validation, expected)
    assert found.history.step.tolist() == [0, 1, 2, 3, 4]


def test_validation_is_the_hard_simulator():
    found = tune()
    best = js.compare(HELD_OUT, {"best": found.rule}, bound=None).metrics["best"]
    np.testing.assert_allclose(
        found.history.best[-1], best["mean_latency_rounds"].mean(), rtol=1e-6
    )


def test_returns_the_best_rule_not_the_last():
    found = tune(
        toy.Tilted(weights=jnp.array([1.0, 0.0])),
        estimator=toy.Towards(target=jnp.array([-5.0, 0.0])),
        optimizer=optax.sgd(0.5),
    )
    assert found.rule.weights.tolist() == [1.0, 0.0]
    assert found.history.best_step == 0
    assert found.history.validation[-1] > found.history.best[-1]


def test_the_last_step_is_validated_too():
    assert tune(steps=5, validate_every=3).history.step.tolist() == [0, 3, 5]


def test_stops_early_when_validation_no_longer_improves():
    away = toy.Towards(target=jnp.array([-5.0, 0.0]))
    best = toy.Tilted(weights=jnp.array([1.0, 0.0]))
    found = tune(best, estimator=away, steps=100, patience=3)
    assert found.history.step.tolist() == [0, 2, 4, 6]


def test_parameters_stay_in_the_box():
    found = tune(optimizer=optax.sgd(1.0), bounds=(-0.5, 1.0), steps=1)
    assert found.rule.weights.tolist() == [1.0, 0.0]
    low = toy.Tilted(weights=jnp.array([-1.0, 0.75]))
    held = tune(optimizer=optax.sgd(1.0), bounds=(low, jnp.inf), steps=1, validate_every=1)
    assert (
        held.history.validation[1]
        == js.tuning.evaluate(HELD_OUT, toy.Tilted(weights=jnp.array([1.0, 0.75]))).mean()
    )


def test_schedules_reach_the_estimator():
    halving = optax.piecewise_constant_schedule(1.0, {2: 0.5})
    descend = {"optimizer": optax.sgd(0.5)}
    found = tune(estimator=toy.towards_volume(temperature=halving), steps=4, **descend)
    factor = np.array([1.0, 0.5, 0.25, 0.25 * 0.75])
    np.testing.assert_allclose(found.history.train, factor**2, rtol=1e-6)
    still = tune(estimator=toy.towards_volume(temperature=lambda step: 0.0), **descend)
    np.testing.assert_array_equal(still.history.train, 1.0)


def test_schedules_compile_nothing_anew():
    count = 0

    @jax.jit
    def gradient(estimator, rule, instances, key):
        nonlocal count
        count += 1
        return estimator(rule, instances, key)

    @toy.chex.dataclass(frozen=True)
    class Counted(js.tuning.Scheduled):
        inner: toy.Towards
        temperature: jax.Array = 1.0

        def __call__(self, rule, instances, key):
            return gradient(self.inner.replace(temperature=self.temperature), rule, instances, key)

    cooling = lambda step: 1 / (1 + step)  # noqa: E731
    tune(estimator=Counted(inner=toy.towards_volume(), temperature=cooling))
    assert count == 1


def test_minibatches_cover_every_instance_once_in_each_pass():
    seen = []

    @toy.chex.dataclass(frozen=True)
    class Watching:
        inner: toy.Towards

        def __call__(self, rule, instances, key):
            seen.append(np.asarray(instances.prompt_tokens))
            return self.inner(rule, instances, key)

    tune(estimator=Watching(inner=toy.towards_volume()), minibatch_size=2, steps=6)
    assert {rows.shape for rows in seen} == {(2, 30)}
    for first in (0, 3):
        passed = np.concatenate(seen[first : first + 3])
        assert sorted(passed.tolist()) == sorted(TRAIN.prompt_tokens.tolist())
    assert not np.array_equal(np.concatenate(seen[:3]), np.concatenate(seen[3:]))


def test_the_key_decides_everything():
    noisy = toy.towards_volume(noise=jnp.float32(0.3))
    runs = [
        js.tune(toy.start(), TRAIN, HELD_OUT, key, estimator=noisy, minibatch_size=2, steps=4)
        for key in (KEY, KEY, jax.random.key(4))
    ]
    first, again, other = (run.history.train.tolist() for run in runs)
    assert first == again != other
    assert runs[0].rule.weights.tolist() == runs[1].rule.weights.tolist()


@pytest.mark.parametrize("optimizer", [optax.adamw(0.1), optax.lion(0.1), optax.contrib.prodigy()])
def test_takes_any_optimizer(optimizer):
    found = tune(optimizer=optimizer)
    assert found.history.train[-1] < found.history.train[0]


@pytest.mark.slow
def test_the_default_estimator_tunes_a_linear_rule_to_the_volume_rule():
    rule = toy.Tilted(weights=jnp.array([0.0, -1.0]))
    found = js.tune(rule, TRAIN, HELD_OUT, KEY, steps=60)
    volume = js.tuning.evaluate(HELD_OUT, "smallest_volume").mean()
    assert found.history.validation[0] > 1.02 * volume
    assert found.history.best[-1] < 1.005 * volume


def test_an_estimator_can_be_a_plain_function():
    estimator = toy.towards_volume()
    found = tune(estimator=lambda rule, instances, key: estimator(rule, instances, key))
    np.testing.assert_array_equal(found.history.train, tune().history.train)


def test_an_estimator_may_return_a_plain_tuple():
    estimator = toy.towards_volume()
    found = tune(estimator=lambda rule, instances, key: tuple(estimator(rule, instances, key)))
    np.testing.assert_array_equal(found.history.train, tune().history.train)


def test_evaluate_takes_the_old_order_with_a_warning():
    with pytest.warns(DeprecationWarning, match=r"write evaluate\(inst, rule\)"):
        old = js.tuning.evaluate("fcfs", HELD_OUT)
    np.testing.assert_array_equal(old, js.tuning.evaluate(HELD_OUT, "fcfs"))


@pytest.mark.slow
def test_the_default_estimator_compiles_nothing_anew(compiled):
    """For other numbers: key, lengths, the rule's parameters, and the noise from step to step."""
    optimizer = optax.adam(0.01)

    def run(seed):
        js.tune(
            js.policies.mlp_score(("log_prompt", "log_output"), hidden=7, seed=seed),
            train=toy.instances(seed),
            validation=HELD_OUT,
            key=jax.random.key(seed),
            optimizer=optimizer,
            estimator=js.tuning.default_estimator().replace(noise=lambda step: 0.2 / (1 + step)),
            steps=3,
        )

    run(1)
    with compiled() as events:
        run(2)
    assert not events


def test_the_bar_shows_train_validation_and_best(capsys):
    tune(progress=True)
    shown = capsys.readouterr().err
    for figure in ("/8 steps", "train 0.9025 ", "validation ", "best "):
        assert figure in shown


@chex.dataclass(frozen=True)
class HalfNaN:
    """The slope of a root at 0 is infinite, and times 0 it is NaN."""

    a: jax.Array
    b: jax.Array

    def __call__(self, inst):
        volume = jnp.log(inst.volume)
        return (
            volume
            + self.a * jnp.log(inst.prompt_tokens.astype(jnp.float32))
            + jnp.sqrt(self.b * 0.0) * jnp.log(inst.output_tokens.astype(jnp.float32))
        )


@chex.dataclass(frozen=True)
class Rounded:
    """Integer scores, whose slopes are 0."""

    weight: jax.Array

    def __call__(self, inst):
        return (self.weight * jnp.log(inst.volume) * 10.0).astype(jnp.int32)


class TestErrors:
    def test_the_leaf_whose_slope_is_nan_is_named_though_the_estimator_spreads_it(self):
        rule = HalfNaN(a=jnp.float32(0.1), b=jnp.float32(0.0))
        with pytest.raises(ValueError, match=r"step 0: leaf \.b of the gradient holds nan"):
            tune(rule, estimator=None)

    def test_scores_without_slopes(self):
        rule = Rounded(weight=jnp.float32(1.0))
        for estimator in (None, js.tuning.ScoreNoise(noise=jnp.float32(0.1))):
            with pytest.raises(TypeError, match="'Rounded' returns int32, which has no slopes"):
                tune(rule, estimator=estimator)
        evolution = js.tuning.EvolutionStrategies(noise=jnp.float32(0.1))
        assert tune(rule, estimator=evolution, steps=1).history.train.size == 1

    def test_a_start_that_is_nan(self):
        with pytest.raises(ValueError, match=r"leaf \.weights of rule 'Tilted' holds nan; start"):
            tune(toy.Tilted(weights=jnp.array([0.0, np.nan])))

    def test_a_nan_gradient_names_step_and_leaf(self):
        estimator = toy.towards_volume(temperature=lambda step: np.nan if step == 2 else 1.0)
        with pytest.raises(ValueError, match=r"step 2: leaf \.weights of the gradient holds nan"):
            tune(estimator=estimator)

    def test_a_parameter_that_overflows_names_step_and_leaf(self):
        with pytest.raises(ValueError, match=r"step 0: leaf \.weights of the rule holds -?inf"):
            tune(optimizer=optax.sgd(3e38), estimator=toy.towards_volume(temperature=9.0))

    def test_a_rule_without_parameters(self):
        with pytest.raises(ValueError, match="'smallest_volume' has no parameters"):
            tune(js.policies.smallest_volume)

    def test_integer_parameters(self):
        with pytest.raises(TypeError, match=r"leaf \.weights of rule 'Tilted' has dtype int32"):
            tune(toy.Tilted(weights=jnp.array([1, 0])))

    def test_a_start_outside_the_box(self):
        with pytest.raises(ValueError, match=r"leaf \.weights of the rule lies outside bounds"):
            tune(bounds=(0.0, 0.5))

    @pytest.mark.parametrize("name", ["steps", "minibatch_size", "validate_every", "patience"])
    def test_numbers_below_one(self, name):
        with pytest.raises(ValueError, match=f"{name} is 0; expected an integer"):
            tune(**{name: 0})

    def test_a_minibatch_larger_than_the_batch(self):
        with pytest.raises(ValueError, match="minibatch_size is 7 but train holds 6"):
            tune(minibatch_size=7)

    def test_one_instance(self):
        one = jax.tree.map(lambda leaf: leaf[0], TRAIN)
        with pytest.raises(ValueError, match=r"train has shape \(30,\); expected \[B, n\]"):
            js.tune(toy.start(), one, HELD_OUT, KEY)

    @pytest.mark.parametrize("name", ["steps", "minibatch_size", "validate_every", "patience"])
    def test_numbers_that_are_no_integers(self, name):
        with pytest.raises(ValueError, match=f"{name} is 2.5; expected an integer"):
            tune(**{name: 2.5})

    def test_an_estimator_that_returns_no_estimate(self):
        def gradient_only(rule, instances, key):
            return rule

        with pytest.raises(TypeError, match=r"'gradient_only' returned Tilted; expected \(value,"):
            tune(estimator=gradient_only)
