"""Objectives against numpy and the metrics, for schedules and for relaxed ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

CLOCK = js.clock.PRESETS["llama2_70b_2xa100"]
UNIFORM = js.workloads.uniform(jax.random.key(0), batch=12)  # padded: each has its own n
MIXED = js.workloads.mixed(jax.random.key(1), num_requests=50, batch=4)


def schedule(inst):
    return js.simulate(inst, js.prioritize(inst, "smallest_volume"))


@pytest.mark.parametrize("clock", [None, CLOCK], ids=["rounds", "seconds"])
@pytest.mark.parametrize("inst", [UNIFORM, MIXED], ids=["padded", "full"])
@pytest.mark.parametrize("is_jitted", [False, True], ids=["eager", "jit"])
class TestAgainstTheMetrics:
    def test_mean_and_percentile(self, inst, clock, is_jitted):
        sched = schedule(inst)
        unit = "rounds" if clock is None else "s"
        expected = js.metrics.summary(inst, sched, clock)
        for objective, metric in ((js.tuning.mean_latency, "mean"), (js.tuning.p99_latency, "p99")):
            objective = functools.partial(objective, clock=clock)
            found = (jax.jit(objective) if is_jitted else objective)(inst, sched)
            np.testing.assert_allclose(found, expected[f"{metric}_latency_{unit}"], rtol=1e-5)

    def test_power_mean(self, inst, clock, is_jitted):
        sched = schedule(inst)
        objective = functools.partial(js.tuning.p_norm, power=3.0, clock=clock)
        found = (jax.jit(objective) if is_jitted else objective)(inst, sched)
        latency = js.metrics.latency(inst, sched, clock)
        expected = np.nanmean(latency**3, axis=-1) ** (1 / 3)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [js.tuning.mean_latency, js.tuning.p_norm, js.tuning.p99_latency],
    ids=["mean", "norm", "p99"],
)
def test_gradients_are_slopes_and_leave_padding_alone(objective):
    inst = jax.tree.map(lambda leaf: leaf[0], UNIFORM)
    n = inst.prompt_tokens.shape[0]
    completion = jnp.asarray(np.random.default_rng(0).permutation(n) + 5, jnp.float32)

    def value(completion):
        return objective(inst, js.Outcome.relaxed(inst, completion))

    found = jax.grad(value)(completion)
    step = 2.0**-4
    slopes = [
        (value(completion.at[i].add(step)) - value(completion.at[i].add(-step))) / (2 * step)
        for i in range(n)
    ]
    np.testing.assert_allclose(found, np.stack(slopes), atol=1e-3)
    assert not found[~inst.is_real].any()
    assert found.sum() > 0.8


def test_an_instance_that_was_not_scheduled_has_no_objective():
    priority = jnp.where(jnp.arange(4)[:, None] == 2, jnp.nan, jnp.zeros((4, 50)))
    sched = js.simulate(MIXED, priority)
    for objective in (js.tuning.mean_latency, js.tuning.p_norm, js.tuning.p99_latency):
        assert np.isnan(objective(MIXED, sched)).tolist() == [False, False, True, False]


def test_a_relaxed_outcome_has_no_seconds():
    sched = js.Outcome.relaxed(MIXED, jnp.ones((4, 50)))
    with pytest.raises(TypeError, match="no rounds for a clock"):
        js.tuning.p99_latency(MIXED, sched, clock=CLOCK)


def test_large_powers_do_not_overflow():
    sched = js.Outcome.relaxed(MIXED, jnp.full((4, 50), 1e6))
    np.testing.assert_allclose(js.tuning.p_norm(MIXED, sched, power=50.0), 1e6, rtol=1e-5)
