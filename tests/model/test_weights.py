"""Instances whose requests have weights: checked, kept, padded, measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

INST = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=8, weight=[4.0, 0.5, 1])


def test_they_are_float32_and_shown():
    assert INST.weight.dtype == jnp.float32
    assert "weight" in repr(INST)
    assert "weight" not in repr(INST.replace(weight=None))
    assert INST.to_pandas()["weight"].tolist() == [4.0, 0.5, 1.0]


def test_without_them_there_is_no_leaf():
    assert len(jax.tree.leaves(INST)) == 5
    plain = js.Instance.from_lengths([3], [2], kv_capacity=8)
    assert plain.weight is None
    assert len(jax.tree.leaves(plain)) == 4


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 0.0, 1.0], r"weight\[1\] is 0.0; expected a finite number > 0"),
        ([1.0, 1.0, -2.0], r"weight\[2\] is -2.0"),
        ([np.nan, 1.0, 1.0], r"weight\[0\] is nan"),
        ([1.0, np.inf, 1.0], r"weight\[1\] is inf"),
        ([1.0, 1e-60, 1.0], r"weight\[1\] is 1e-60"),
        ([1.0, 2.0], r"weight has shape \(2,\)"),
        (["a", "b", "c"], "weight has dtype"),
    ],
)
def test_others_are_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=8, weight=weight)


def test_a_file_keeps_them(tmp_path):
    INST.save(tmp_path / "inst.npz")
    again = js.Instance.load(tmp_path / "inst.npz")
    np.testing.assert_array_equal(again.weight, INST.weight)
    plain = INST.replace(weight=None)
    plain.save(tmp_path / "plain.npz")
    assert js.Instance.load(tmp_path / "plain.npz").weight is None


def test_padding_weighs_1_and_counts_for_nothing():
    one = js.Instance.from_lengths([3], [2], kv_capacity=8, weight=[7.0])
    both = js.stack([INST, one])
    assert both.weight.tolist() == [[4.0, 0.5, 1.0], [7.0, 1.0, 1.0]]
    sched = js.simulate(both, js.prioritize(both, "fcfs"))
    summary = js.metrics.summary(both, sched)
    assert summary["total_weighted_latency_rounds"][1] == 7.0 * 2
    assert summary["mean_weighted_latency_rounds"][1] == 2
    with pytest.raises(ValueError, match="weight"):
        js.stack([INST, one.replace(weight=None)])


def test_the_summary_counts_them_beside_what_it_counted():
    sched = js.Schedule.from_starts(INST, [0, 2, 2])
    summary = js.metrics.summary(INST, sched)
    plain = js.metrics.summary(INST.replace(weight=None), sched)
    assert summary.pop("total_weighted_latency_rounds") == 4 * 2 + 0.5 * 6 + 5
    assert summary.pop("mean_weighted_latency_rounds") == 16 / 5.5
    assert summary == plain
    clock = js.servers.get("llama3.1_8b_h100").clock
    in_seconds = js.metrics.summary(INST, sched, clock)
    latency = js.metrics.latency(INST, sched, clock)
    expected = np.sum(np.asarray(INST.weight) * latency)
    np.testing.assert_allclose(in_seconds["total_weighted_latency_s"], expected)


def test_schedules_do_not_see_them(compiled):
    priority = np.array([2, 1, 3])
    plain = js.simulate(INST.replace(weight=None), priority)
    with compiled() as events:
        weighted = js.simulate(INST, priority)
    assert weighted.start.tolist() == plain.start.tolist()
    assert not events


def test_rules_see_them():
    numbers = js.prioritize(INST, lambda inst: inst.output_tokens.astype(jnp.float32) / inst.weight)
    assert numbers.tolist() == [0.5, 8.0, 3.0]
    np.testing.assert_allclose(js.prioritize(INST, "weighted_volume"), INST.volume / INST.weight)
    alike = INST.replace(weight=None)
    assert js.prioritize(alike, "weighted_volume").tolist() == alike.volume.tolist()
    smith = js.policies.linear_score(["log_volume", "log_weight"], [1.0, -1.0])
    found = np.exp(np.asarray(js.prioritize(INST, smith)))
    np.testing.assert_allclose(found, INST.volume / INST.weight, rtol=1e-5)


def test_a_comparison_is_decided_by_weighted_latency():
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(1, 9, (2, 6, 12))
    weight = rng.choice([1.0, 50.0], (6, 12))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=24, weight=weight)
    rules = ["smallest_volume", "weighted_volume"]
    report = js.compare(inst, rules, "smallest_volume", bound="mean_busy")
    assert report.best == "weighted_volume"
    of_best = report.metrics["weighted_volume"]
    gap = of_best["total_weighted_latency_rounds"] / js.bounds.mean_busy(inst) - 1
    np.testing.assert_allclose(of_best["gap"], gap)
    assert (gap >= 0).all()
    limit = report.bound_on_mean_latency().mean
    assert limit <= report.estimate("mean_weighted_latency_rounds")["weighted_volume"].mean
    assert str(report).count("weighted") == 2  # the head of a column, and the rule
    assert str(js.compare(inst.replace(weight=None), rules)).count("weighted") == 1


def test_capacity_plans_count_all_alike():
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(1, 9, (2, 3, 12))
    weight = rng.choice([1.0, 50.0], (3, 12))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=100, weight=weight)
    plan, plain = (
        js.plan_capacity(each, ["fcfs"], ("mean_latency", 20.0))
        for each in (inst, inst.replace(weight=None))
    )
    assert (plan.capacity, plan.bound_capacity) == (plain.capacity, plain.bound_capacity)


def test_the_objective_is_the_weighted_mean():
    sched = js.Schedule.from_starts(INST, [0, 2, 2])
    assert js.tuning.weighted_latency(INST, sched).item() == np.float32(16 / 5.5)
    plain = INST.replace(weight=None)
    assert js.tuning.weighted_latency(plain, sched) == js.tuning.mean_latency(plain, sched)
