"""A rule is tuned for weighted latency through the hard simulator."""

import jax
import numpy as np
import optax

import jaxsched as js


def backlogs(seed):
    rng = np.random.default_rng(seed)
    prompt, output = rng.integers(1, 9, (2, 8, 20))
    weight = rng.choice([1.0, 20.0], (8, 20))
    return js.Instance.from_lengths(prompt, output, kv_capacity=24, weight=weight)


def test_a_rule_learns_that_weights_count():
    train, held_out = backlogs(0), backlogs(1)
    start = js.policies.linear_score(["log_volume", "log_weight"], [1.0, 0.0])
    objective = js.tuning.weighted_latency
    tuned = js.tune(
        start,
        train,
        held_out,
        jax.random.key(0),
        objective=objective,
        estimator=js.tuning.default_estimator(objective),
        optimizer=optax.adam(0.2),
        steps=12,
        validate_every=4,
    )
    before, after = (js.tuning.evaluate(held_out, rule, objective) for rule in (start, tuned.rule))
    assert after.mean() < 0.9 * before.mean()
    assert tuned.rule.weights[1] < 0
    report = js.compare(held_out, {"start": start, "tuned": tuned.rule}, bound=None)
    expected = report.metrics["tuned"]["mean_weighted_latency_rounds"]
    np.testing.assert_allclose(after, expected, rtol=1e-5)
