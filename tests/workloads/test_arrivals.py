"""Arrivals with independent gaps: pure in their key, of the law and the mean asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats

import jaxsched as js
from jaxsched.workloads import arrivals

KEY = jax.random.key(3)
INST = js.workloads.chat(jax.random.key(0), 2000, batch=4)
FEW = INST[:2]
#: Every process by name, with options where it needs some.
PROCESSES = {name: {} for name in arrivals.ARRIVALS} | {
    "gamma": {"cv": 3.0},
    "weibull": {"burstiness": 0.25},
    "diurnal": {"period_s": 300.0, "swing": 0.9},
    "ramp": {"ramp_s": 100.0},
    "clients": {"num_clients": 20, "top_10_share": 0.8, "cv": 2.0},
}


def gaps_of(reqs):
    return np.diff(np.asarray(reqs.arrival_s)).ravel()


def weibull_shape(cv):
    """The k of a Weibull law with this coefficient of variation, by scipy."""

    def excess(k):
        return special.gamma(1 + 2 / k) / special.gamma(1 + 1 / k) ** 2 - 1 - cv**2

    return optimize.brentq(excess, 0.15, 50.0)


def p_value(gaps, law):
    """Whether gaps follow a law, as far as differences of float64 times can tell."""
    least = 1e-9
    below = law.cdf(least)
    assert np.mean(gaps <= least) == pytest.approx(below, abs=0.02)
    seen = gaps[gaps > least]
    return stats.kstest(seen, lambda gap: (law.cdf(gap) - below) / (1 - below)).pvalue


def test_gaps_are_exponential_whatever_the_width_of_jax_numbers(x64):
    del x64
    reqs = js.workloads.poisson(KEY, INST, 5.0)
    assert reqs.arrival_s.dtype == np.float64
    assert (np.asarray(reqs.arrival_s)[:, 0] == 0).all()
    gaps = gaps_of(reqs)
    assert gaps.min() >= 0
    assert gaps.mean() == pytest.approx(1 / 5, rel=0.05)
    assert gaps.std() == pytest.approx(1 / 5, rel=0.05)
    assert np.exp(-5 * gaps).mean() == pytest.approx(1 / 2, rel=0.05)
    assert p_value(gaps, stats.expon(scale=1 / 5)) > 0.01


@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0, 6.0])
def test_gaps_have_the_law_and_the_spread_asked_for(cv):
    gamma = gaps_of(arrivals.gamma(KEY, INST, 5.0, cv=cv))
    shape = cv**-2
    assert p_value(gamma, stats.gamma(shape, scale=1 / (5 * shape))) > 0.01
    weibull = gaps_of(arrivals.weibull(KEY, INST, 5.0, cv=cv))
    shape = weibull_shape(cv)
    scale = 1 / (5 * special.gamma(1 + 1 / shape))
    assert p_value(weibull, stats.weibull_min(shape, scale=scale)) > 0.01
    for gaps in (gamma, weibull):
        assert gaps.mean() == pytest.approx(1 / 5, rel=0.15)


@pytest.mark.parametrize("process", [arrivals.gamma, arrivals.weibull])
def test_burstiness_is_the_other_name_of_the_spread(process):
    by_cv = process(KEY, INST, 5.0, cv=np.array([0.5, 1.0, 2.0, 4.0]))
    by_burstiness = process(KEY, INST, 5.0, burstiness=np.array([4.0, 1.0, 0.25, 0.0625]))
    np.testing.assert_allclose(by_cv.arrival_s, by_burstiness.arrival_s, rtol=1e-6)


def test_weibull_gaps_of_a_key_are_powers_of_the_same_draws():
    draws = []
    for cv in (0.5, 3.0):
        shape = weibull_shape(cv)
        gaps = gaps_of(arrivals.weibull(KEY, INST, 2.0, cv=cv))
        draws.append((gaps * 2 * special.gamma(1 + 1 / shape)) ** shape)
    # A gap is the difference of times that are larger by far.
    np.testing.assert_allclose(draws[0], draws[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["poisson", "gamma", "weibull", "clients"])
def test_a_larger_batch_adds_to_a_smaller_and_a_rate_only_scales(name):
    def draw(key, inst, rate):
        return arrivals.ARRIVALS[name](key, inst, rate, **PROCESSES[name])

    reqs = draw(KEY, INST, 5.0)
    times = np.asarray(reqs.arrival_s)
    fewer = draw(KEY, FEW, 5.0)
    np.testing.assert_array_equal(fewer.arrival_s, times[:2])
    rates = np.array([5.0, 10.0, 20.0, 40.0])
    each = draw(KEY, INST, rates)
    np.testing.assert_allclose(each.arrival_s, times * 5 / rates[:, None])
    if reqs.client is not None:
        np.testing.assert_array_equal(each.client, reqs.client)
    other = draw(jax.random.key(4), INST, 5.0)
    assert (np.asarray(other.arrival_s)[:, -1] != times[:, -1]).all()


@pytest.mark.parametrize("name", PROCESSES)
def test_jit_and_vmap_give_what_a_plain_call_gives(name):
    inst = INST[0]

    def draw(key, rate):
        return arrivals.ARRIVALS[name](key, inst, rate, **PROCESSES[name])

    plain = draw(KEY, 5.0)
    times = np.asarray(plain.arrival_s)
    assert times.dtype == np.float64
    assert np.isfinite(times).all()
    assert (np.diff(times) >= 0).all()
    assert times[0] >= 0
    traced = jax.jit(draw)(KEY, 5.0)
    np.testing.assert_allclose(traced.arrival_s, times, rtol=1e-6)
    keys = jnp.stack([jax.random.key(8), KEY])
    each = jax.vmap(draw, (0, None))(keys, 5.0)
    np.testing.assert_allclose(each.arrival_s[1], times, rtol=1e-6)


def test_inside_jit_and_with_padding():
    inst = js.workloads.uniform(KEY, batch=3)
    reqs = js.workloads.poisson(KEY, inst, 2.0)
    np.testing.assert_array_equal(reqs.is_real, inst.is_real)
    np.testing.assert_array_equal(np.isfinite(reqs.arrival_s), inst.is_real)
    traced = jax.jit(js.workloads.poisson)(KEY, inst, 2.0)
    np.testing.assert_allclose(traced.arrival_s, reqs.arrival_s)
    one = js.workloads.poisson(KEY, inst[0], 2.0)
    assert one.arrival_s.shape == (60,)


def test_requests_keep_what_else_they_say():
    reqs = js.Requests.from_arrays([0.0, 0.0], [3, 4], [5, 6], client=[7, 8], priority=[1, 0])
    timed = arrivals.gamma(KEY, reqs, 5.0, cv=2.0)
    assert timed.client.tolist() == [7, 8]
    assert timed.priority.tolist() == [1, 0]
    assert np.asarray(timed.arrival_s)[1] > 0


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


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        ({}, "burstiness is missing, and so is cv; give burstiness or cv, one of the two"),
        ({"cv": 1.0, "burstiness": 1.0}, "burstiness is given, and so is cv"),
        ({"cv": 0.0}, "cv is 0.0; expected a number from 0.01 to 1000"),
        ({"burstiness": [1.0, 1.0, np.inf, 1.0]}, r"burstiness\[2\] is inf; expected 1 / cv\^2"),
        ({"cv": [1.0, 2.0]}, r"cv has shape \(2,\); expected one number, or \(4,\)"),
    ],
)
def test_a_wrong_spread_is_named(spread, message):
    with pytest.raises(ValueError, match=message):
        arrivals.weibull(KEY, INST, 5.0, **spread)


def test_an_unknown_process_is_named():
    with pytest.raises(ValueError, match="no arrival process is called 'gama'; did you mean"):
        arrivals.ARRIVALS["gama"]
