import sys

import jax
import numpy as np
import pytest

from jaxsched import bounds
from jaxsched.bounds import _linear_program
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import prioritize
from tests.reference import clock_and_metrics as reference


def small_instances(seed, count):
    rng = np.random.default_rng(seed)
    instances, horizons = [], []
    for _ in range(count):
        n = rng.integers(2, 9)
        output = rng.integers(1, rng.integers(3, 14), n)
        prompt = rng.integers(1, rng.integers(3, 20), n)
        capacity = (prompt + output).max() + rng.integers(0, 25)
        instances.append(Instance.from_lengths(prompt, output, kv_capacity=capacity))
        horizons.append(int(rng.integers(1, output.sum() + 10)))
    return instances, np.array(horizons)


@pytest.mark.slow
def test_the_price_bound_is_just_below_it_at_the_same_horizon():
    instances, horizons = small_instances(seed=0, count=200)
    limit = [
        bounds.linear_program(inst, int(t)) for inst, t in zip(instances, horizons, strict=True)
    ]
    ratio = bounds.price(stack(instances), horizon=horizons).value / limit
    assert ratio.max() <= 1 + 1e-6
    assert ratio.min() >= 0.99
    assert ratio.mean() >= 0.999


def test_its_value_is_the_optimum_of_the_programme():
    instances, horizons = small_instances(seed=1, count=30)
    for inst, horizon in zip(instances, horizons.tolist(), strict=True):
        optimum = _linear_program.solve_time_indexed_lp(inst, horizon).value
        assert float(bounds.linear_program(inst, horizon)) == pytest.approx(optimum, rel=1e-6)


def test_never_above_the_optimum_and_no_less_for_a_longer_horizon():
    rng = np.random.default_rng(2)
    for _ in range(40):
        n = int(rng.integers(1, 5))
        output = rng.integers(1, 5 if n < 4 else 4, n)
        prompt = rng.integers(1, 7, n)
        capacity = int((prompt + output).max() + rng.integers(0, 8))
        inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
        best = reference.least_total_latency(prompt.tolist(), output.tolist(), capacity)
        values = [float(bounds.linear_program(inst, t)) for t in (1, 3, int(output.sum()))]
        assert values[0] <= values[1] + 1e-6
        assert values[1] <= values[2] + 1e-6
        assert values[2] <= best
        assert float(bounds.linear_program(inst)) == pytest.approx(values[2], rel=1e-9)


def test_leading_axes_and_padding():
    instances, _ = small_instances(seed=3, count=4)
    together = bounds.linear_program(stack(instances))
    assert together.dtype == np.float64
    alone = [float(bounds.linear_program(inst)) for inst in instances]
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    inst = stack(instances)
    nested = jax.tree.map(lambda leaf: leaf.reshape(2, 2, *leaf.shape[1:]), inst)
    np.testing.assert_allclose(bounds.linear_program(nested).reshape(-1), alone, rtol=1e-6)
    total = np.asarray(simulate(inst, prioritize(inst, "smallest_volume")).completion)
    assert (together <= np.where(inst.is_real, total, 0).sum(axis=-1)).all()
    empty = inst.replace(is_real=np.zeros(inst.is_real.shape, bool))
    assert bounds.linear_program(empty).tolist() == [0] * 4


def test_the_default_horizon_keeps_the_programme_small(monkeypatch):
    inst = Instance.from_lengths([3] * 6, [5] * 6, kv_capacity=17)
    longest = float(bounds.linear_program(inst))
    monkeypatch.setattr(_linear_program, "MAX_NONZEROS", 200)
    shorter = float(bounds.linear_program(inst))
    assert 30 <= shorter < longest
    with pytest.raises(
        ValueError, match=r"6 requests over 30 rounds has \d+ non-zeros; the limit is 200"
    ):
        bounds.linear_program(inst, 30)


def test_a_horizon_below_one_round_is_named():
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match="horizon is 0; expected at least 1 round"):
        bounds.linear_program(inst, 0)


def test_a_missing_solver_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ImportError, match=r'pip install "jaxsched\[exact\]"'):
        bounds.linear_program(inst)
