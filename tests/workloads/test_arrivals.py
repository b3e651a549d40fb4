"""Arrivals of a Poisson process: pure in their key, with independent gaps of the mean asked for."""

import jax
import numpy as np
import pytest

import jaxsched as js

KEY = jax.random.key(3)
INST = js.workloads.chat(jax.random.key(0), 2000, batch=4)


def test_gaps_are_exponential_whatever_the_width_of_jax_numbers(x64):
    del x64
    reqs = js.workloads.poisson(KEY, INST, 5.0)
    assert reqs.arrival_s.dtype == np.float64
    assert (np.asarray(reqs.arrival_s)[:, 0] == 0).all()
    gaps = np.diff(np.asarray(reqs.arrival_s)).ravel()
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(1 / 5, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 5, rel=0.05)
    assert np.exp(-5 * gaps).mean() == pytest.approx(1 / 2, rel=0.05)


def test_a_larger_batch_adds_to_a_smaller_and_a_rate_only_scales():
    times = np.asarray(js.workloads.poisson(KEY, INST, 5.0).arrival_s)
    fewer = js.workloads.poisson(KEY, INST[:2], 5.0)
    np.testing.assert_array_equal(fewer.arrival_s, times[:2])
    rates = np.array([5.0, 10.0, 20.0, 40.0])
    each = js.workloads.poisson(KEY, INST, rates)
    np.testing.assert_allclose(each.arrival_s, times * 5 / rates[:, None])
    other = js.workloads.poisson(jax.random.key(4), INST, 5.0)
    assert (np.asarray(other.arrival_s)[:, 1:] != times[:, 1:]).all()


def test_inside_jit_and_with_padding():
    inst = js.workloads.uniform(KEY, batch=3)
    reqs = js.workloads.poisson(KEY, inst, 2.0)
    np.testing.assert_array_equal(reqs.is_real, inst.is_real)
    np.testing.assert_array_equal(np.isfinite(reqs.arrival_s), inst.is_real)
    traced = jax.jit(js.workloads.poisson)(KEY, inst, 2.0)
    np.testing.assert_allclose(traced.arrival_s, reqs.arrival_s)
    one = js.workloads.poisson(KEY, inst[0], 2.0)
    assert one.arrival_s.shape == (60,)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (0, "rate is 0.0; expected a finite number of requests a second > 0"),
        (np.nan, "rate is nan; expected a finite"),
        ([1.0, 2.0, -1.0, 3.0], r"rate\[2\] is -1.0; expected a finite"),
        ([1.0, 2.0], r"rate has shape \(2,\); expected one number, or \(4,\)"),
    ],
)
def test_a_wrong_rate_is_named(rate, message):
    with pytest.raises(ValueError, match=message):
        js.workloads.poisson(KEY, INST, rate)
