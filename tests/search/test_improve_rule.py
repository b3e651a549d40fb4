"""The search as a rule by name, and its schedules in a comparison."""

import jax
import numpy as np
import pytest

import jaxsched as js

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def inst():
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(1, 9, (2, 3, 12))
    return js.Instance.from_lengths(prompt, output, kv_capacity=24)


def test_it_is_a_rule_like_any_other(inst):
    rule = js.policies.make("improve", num_steps=100, num_chains=2)
    found = js.compare(inst, {"svf": "svf", "improve": rule}, baseline="svf")
    expected = js.improve(inst, "svf", num_steps=100, num_chains=2, key=KEY)
    np.testing.assert_array_equal(
        found.metrics["improve"]["total_latency_rounds"], expected.history[:, -1]
    )
    assert (found.metrics["improve"]["gap"] >= 0).all()
    assert found.change("total_latency_rounds")["improve"].mean < 0
    assert "improve" in js.policies.names()


@pytest.mark.slow
def test_it_takes_any_start_and_the_discipline(inst):
    rule = js.policies.make(
        "improve", start="fcfs", num_steps=50, num_chains=2, seed=3, discipline="earliest_fit"
    )
    assert js.policies.rule_name(rule) == "improve[fcfs]"
    options = {"num_steps": 50, "num_chains": 2, "discipline": "earliest_fit"}
    expected = js.improve(inst, "fcfs", key=jax.random.key(3), **options)
    np.testing.assert_array_equal(js.prioritize(inst, rule), expected.priority)


def test_a_schedule_is_compared_as_it_is(inst):
    better = js.improve(inst, "svf", num_steps=50, num_chains=2, key=KEY)
    found = js.compare(inst, {"svf": "svf", "better": better.schedule}, baseline="svf")
    summary = js.metrics.summary(inst, better.schedule)
    for metric, values in summary.items():
        np.testing.assert_array_equal(found.metrics["better"][metric], values)
    volume = js.bounds.volume(inst)
    np.testing.assert_array_equal(
        found.metrics["better"]["gap"], summary["total_latency_rounds"] / volume - 1
    )


def test_a_schedule_that_does_not_fit_is_refused(inst):
    at_once = js.Schedule.from_starts(inst, np.zeros((3, 12), int))
    expected = r"schedule 'at once' holds \d+ tokens in round 1 in instance 0; expected at most"
    with pytest.raises(ValueError, match=expected):
        js.compare(inst, {"at once": at_once})
    nothing = js.simulate(inst, np.full((3, 12), np.nan))
    with pytest.raises(ValueError, match="schedule 'nothing' in instance 0: "):
        js.compare(inst, {"nothing": nothing})
