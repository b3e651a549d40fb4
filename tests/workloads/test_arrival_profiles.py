"""Arrivals at a changing rate are a Poisson process: on the clock of its integral they are even."""

import jax
import numpy as np
import pytest
from scipy import integrate, stats

import jaxsched as js
from jaxsched.workloads.arrivals import Bursts, Diurnal, Ramp, Steps, bursts, varying

KEY = jax.random.key(5)
INST = js.workloads.chat(jax.random.key(0), 2000, batch=4)
RATE = 4.0


def of_day(time_s, swing=0.9, peak_at_s=20.0, period_s=150.0):
    """Integral of a day's level, by hand."""
    angle = 2 * np.pi / period_s
    wave = np.sin(angle * (time_s - peak_at_s)) - np.sin(-angle * peak_at_s)
    return time_s + swing * wave / angle


def of_ramp(time_s, start=0.25, end=2.0, ramp_s=100.0):
    inside = np.minimum(time_s, ramp_s)
    area = start * inside + (end - start) * inside**2 / (2 * ramp_s)
    return area + end * np.maximum(time_s - ramp_s, 0)


def of_exponential_ramp(time_s, start=2.0, end=0.25, ramp_s=100.0):
    inside, steepness = np.minimum(time_s, ramp_s), np.log(end / start) / ramp_s
    area = start * np.expm1(steepness * inside) / steepness
    return area + end * np.maximum(time_s - ramp_s, 0)


LEVELS, WINDOW_S = np.array([0.5, 3.0, 0.0, 1.0]), 7.0


def of_steps(time_s):
    ends = np.cumsum(np.tile(LEVELS, 500)) * WINDOW_S
    return np.interp(time_s, WINDOW_S * np.arange(ends.size + 1), np.append(0, ends))


def of_product(time_s):
    """A day and a ramp at once, on a grid fine enough."""
    grid = np.linspace(0, time_s.max() + 1, 2_000_001)
    day = 1 + 0.9 * np.cos(2 * np.pi * (grid - 20) / 150)
    ramp = np.interp(grid, [0, 100], [0.25, 2.0])
    return np.interp(time_s, grid, integrate.cumulative_simpson(day * ramp, x=grid, initial=0))


DAY = Diurnal(swing=0.9, peak_at_s=20.0, period_s=150.0)
RAMP = Ramp(start=0.25, end=2.0, ramp_s=100.0)


@pytest.mark.parametrize(
    ("profile", "integral"),
    [
        pytest.param(DAY, of_day, id="day"),
        pytest.param(RAMP, of_ramp, id="ramp"),
        pytest.param(Ramp(2.0, 0.25, 100.0, "exponential"), of_exponential_ramp, id="exponential"),
        pytest.param(Steps(LEVELS, WINDOW_S), of_steps, id="steps"),
        pytest.param(DAY * RAMP, of_product, id="product"),
    ],
)
def test_thinning_is_exact(profile, integral):
    reqs = varying(KEY, INST, RATE, profile)
    times = np.asarray(reqs.arrival_s)
    assert (np.diff(times) > 0).all()
    even = RATE * integral(times)
    gaps = np.diff(even, prepend=0.0)
    assert stats.kstest(gaps.ravel(), stats.expon.cdf).pvalue > 0.01
    # A gap tells nothing of the next.
    assert abs(stats.spearmanr(gaps[:, :-1].ravel(), gaps[:, 1:].ravel()).statistic) < 0.04


def test_nobody_comes_while_the_level_is_0():
    times = np.asarray(varying(KEY, INST, RATE, Steps(LEVELS, WINDOW_S)).arrival_s)
    assert not ((times // WINDOW_S).astype(int) % LEVELS.size == 2).any()


def test_bursts_are_of_each_stream_and_spread_counts():
    spread = 0.7
    reqs = bursts(KEY, INST, RATE, cv=spread, window_s=5.0)
    counts = [np.bincount((row // 5).astype(int))[:-1] for row in np.asarray(reqs.arrival_s)]
    assert len({each[:20].tobytes() for each in counts}) == 4
    dispersion = np.mean([each.var() / each.mean() for each in counts])
    assert dispersion == pytest.approx(1 + RATE * 5 * spread**2, rel=0.15)


def test_levels_of_bursts_are_gamma_numbers():
    levels = np.asarray(Bursts(cv=2.0, num_windows=4000).drawn(KEY).levels)
    assert stats.kstest(levels, stats.gamma(0.25, scale=4.0).cdf).pvalue > 0.01


def test_a_rate_that_sinks_to_nothing_ends():
    draw = jax.jit(lambda level: varying(KEY, INST[0], RATE, Steps([level], 1.0)))
    assert np.isinf(draw(0.0).arrival_s).all()


def test_candidates_that_never_stay_end():
    never = Steps([1.0, 0.0], 1.0) * Steps([0.0, 1.0], 1.0)
    few = js.workloads.chat(KEY, 2)
    assert np.isinf(varying(KEY, few, RATE, never).arrival_s).all()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (Diurnal(swing=1.5), "swing is 1.5; expected a number from 0 to 1"),
        (Diurnal(period_s=0.0), "period_s is 0.0; expected seconds > 0"),
        (Ramp(start=0.0), "start is 0.0; expected a finite number > 0"),
        (Ramp(strategy="steep"), "strategy is 'steep'; expected one of linear, exponential"),
        (Steps([1.0, -1.0], 5.0), r"levels\[1\] is -1.0; expected finite numbers >= 0"),
        (Steps([0.0], 5.0), "levels is .*; expected a level above 0"),
        (Steps(1.0, 5.0), "levels is 1.0; expected a list"),
        (Bursts(cv=0.0), "cv is 0.0; expected a number from 0.01 to 1000"),
        (Bursts(num_windows=0), "num_windows is 0; expected an integer >= 1"),
        (DAY * Ramp(ramp_s=-1.0), "ramp_s is -1.0; expected seconds > 0"),
    ],
)
def test_a_wrong_profile_is_named(profile, message):
    with pytest.raises(ValueError, match=message):
        varying(KEY, INST, RATE, profile)
