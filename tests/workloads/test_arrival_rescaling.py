"""Renewal processes at a changing rate: on the clock of its integral their gaps are as asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, stats

import jaxsched as js
from jaxsched.workloads.arrivals import (
    Bursts,
    Diurnal,
    Profile,
    Ramp,
    Steps,
    bursts,
    describe,
    superposed,
    varying,
)
from tests.reference import cumulated

KEY = jax.random.key(7)
INST = js.workloads.chat(jax.random.key(0), 500, batch=8)
RATE, CV = 4.0, 3.0
HORIZON_S, NUM_AREAS, NUM_CASES = 400.0, 12, 40
LEVELS, WINDOW_S = np.array([0.5, 3.0, 0.0, 1.0]), 7.0
PROFILE = Steps(LEVELS, WINDOW_S) * Diurnal(swing=0.9, peak_at_s=20.0, period_s=150.0)


def day_of(rng):
    swing, peak_at_s, period_s = rng.uniform(0, 0.95), rng.uniform(-300, 300), rng.uniform(30, 600)

    def level(time_s):
        return 1 + swing * np.cos(2 * np.pi * (time_s - peak_at_s) / period_s)

    return Diurnal(swing, peak_at_s, period_s), level, np.arange(0, HORIZON_S, 10.0)


def ramp_of(rng, strategy="linear"):
    start, end, ramp_s = *rng.uniform(0.1, 3.0, 2), rng.uniform(10, 500)
    if rng.random() < 0.1:
        end = start

    def level(time_s):
        share = np.minimum(time_s / ramp_s, 1)
        return (
            start + (end - start) * share
            if strategy == "linear"
            else start * (end / start) ** share
        )

    return (
        Ramp(start, end, ramp_s, strategy),
        level,
        np.append(np.arange(0, HORIZON_S, 10.0), ramp_s),
    )


def exponential_ramp_of(rng):
    return ramp_of(rng, "exponential")


def steps_of(rng, num_levels=5):
    levels, window_s = rng.uniform(0.1, 3.0, num_levels), rng.uniform(2.0, 20.0)
    levels[rng.integers(num_levels)] = 0.0

    def level(time_s):
        return levels[(time_s // window_s).astype(int) % num_levels]

    return Steps(levels, window_s), level, window_s * np.arange(int(HORIZON_S / window_s) + 2)


def product_of(rng, *kinds):
    profiles, levels, breaks = zip(*(kind(rng) for kind in kinds), strict=True)
    profile = profiles[0]
    for each in profiles[1:]:
        profile = profile * each
    return (
        profile,
        lambda time_s: np.prod([one(time_s) for one in levels], axis=0),
        np.concatenate(breaks),
    )


def steps_and_day_of(rng):
    return product_of(rng, steps_of, day_of)


def ramp_and_steps_of(rng):
    return product_of(rng, ramp_of, steps_of, lambda rng: steps_of(rng, 3))


KINDS = [day_of, ramp_of, exponential_ramp_of, steps_of, steps_and_day_of, ramp_and_steps_of]


@pytest.mark.parametrize("kind", KINDS)
def test_the_inverse_is_that_of_a_plain_search(kind):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        inverse = jax.jit(lambda profile, areas: profile.time_at(areas))
        for _ in range(NUM_CASES):
            profile, level, breaks = kind(rng)
            breaks = np.unique(np.append(breaks[(breaks >= 0) & (breaks < HORIZON_S)], HORIZON_S))
            most = cumulated.area(level, breaks, np.array([HORIZON_S * (1 - 1e-9)]))[0]
            areas = np.sort(rng.uniform(0, most, NUM_AREAS))
            profile = jax.tree.map(jnp.asarray, profile)
            found = np.asarray(inverse(profile, areas))
            assert found.dtype == np.float64
            np.testing.assert_allclose(cumulated.area(level, breaks, found), areas, rtol=1e-10)
            np.testing.assert_allclose(found, cumulated.time_at(level, breaks, areas), rtol=1e-9)


@pytest.mark.parametrize(
    "profile", [Diurnal(1.0, 20.0, 150.0), Ramp(0.1, 2.0, 300.0), Steps(LEVELS, WINDOW_S)]
)
def test_the_integral_undoes_its_inverse_far_from_the_start(profile):
    areas = np.sort(np.random.default_rng(1).uniform(0, 1e9, 1000))
    with jax.enable_x64(True):
        profile = jax.tree.map(np.asarray, profile)
        times = profile.time_at(jnp.asarray(areas))
        np.testing.assert_allclose(profile.area(times), areas, rtol=1e-13)


def operational(times, rate=RATE, profile=PROFILE):
    """Cumulated rate at times, by quadrature."""
    breaks = np.arange(0, times.max() + WINDOW_S, WINDOW_S)

    def level(time_s):
        day = 1 + 0.9 * np.cos(2 * np.pi * (time_s - 20) / 150)
        return day * LEVELS[(time_s // WINDOW_S).astype(int) % LEVELS.size]

    return rate * cumulated.area(level, breaks, times.ravel()).reshape(times.shape)


@pytest.mark.parametrize("law", ["gamma", "weibull"])
def test_gaps_on_the_clock_of_the_integral_have_the_law(law):
    times = np.asarray(varying(KEY, INST, RATE, PROFILE, gap_cv=CV, law=law).arrival_s)
    assert (np.diff(times) >= 0).all()
    assert not ((times // WINDOW_S).astype(int) % LEVELS.size == 2).any()
    gaps = np.diff(operational(times))
    if law == "gamma":
        exact = stats.gamma(CV**-2, scale=CV**2)
    else:
        shape = optimize.brentq(
            lambda k: stats.weibull_min(k).std() / stats.weibull_min(k).mean() - CV, 0.2, 1
        )
        exact = stats.weibull_min(shape, scale=1 / stats.weibull_min(shape).mean())
    # Differences of times that are larger by far do not tell the shortest gaps apart.
    least = 1e-6
    below = exact.cdf(least)
    assert np.mean(gaps <= least) == pytest.approx(below, abs=0.02)
    seen = gaps[gaps > least]
    assert stats.kstest(seen, lambda gap: (exact.cdf(gap) - below) / (1 - below)).pvalue > 0.01
    first, following = gaps[:, :-1].ravel(), gaps[:, 1:].ravel()
    assert abs(stats.spearmanr(first, following).statistic) < 0.05


@pytest.mark.slow  # many streams
@pytest.mark.parametrize("law", ["gamma", "weibull"])
def test_the_requests_to_be_expected_are_the_cumulated_rate_from_the_start(law):
    inst = js.workloads.chat(jax.random.key(0), 150, batch=1000)
    times = np.asarray(varying(KEY, inst, RATE, PROFILE, gap_cv=CV, law=law).arrival_s)
    for until_s in (0.5, 3.0, 6.0):
        counts = np.sum(times < until_s, axis=-1)
        expected = operational(np.array([until_s]))[0]
        assert counts.max() < 150
        error = counts.std() / np.sqrt(counts.size)
        assert counts.mean() == pytest.approx(expected, abs=4 * error)
    first = operational(times[:, :1]).ravel()
    gap = stats.gamma(CV**-2, scale=CV**2)
    if law == "gamma":  # density of the residual gap: the survival function of a gap of mean 1
        grid = np.geomspace(1e-12, 1e3, 20_000)
        below = integrate.cumulative_trapezoid(gap.sf(grid), grid, initial=0)
        assert stats.kstest(first, lambda each: np.interp(each, grid, below)).pvalue > 0.01


def test_equal_keys_draw_the_same_gaps_at_every_rate():
    rates = np.array([2.0, 3.0, 4.0, 4.0, 5.0, 8.0, 8.0, 9.0])
    draw = jax.jit(lambda rate: varying(KEY, INST, rate, PROFILE, gap_cv=CV).arrival_s)
    slow, fast = np.asarray(draw(rates)), np.asarray(draw(2 * rates))
    assert (fast < slow).all()
    np.testing.assert_allclose(
        operational(slow, rates[:, None]), operational(fast, 2 * rates[:, None]), rtol=1e-9
    )
    plain = varying(KEY, INST, rates, PROFILE, gap_cv=CV)
    np.testing.assert_allclose(plain.arrival_s, slow, rtol=1e-9)
    # At a rate of 1 the times are the gaps, added up.
    even = np.asarray(varying(KEY, INST, 1.0, Steps([1.0], WINDOW_S), gap_cv=CV).arrival_s)
    np.testing.assert_allclose(operational(slow, rates[:, None]), even, rtol=1e-9)


def test_bursts_of_gaps_and_of_the_rate_add_up():
    """As far as windows are longer than gaps, dispersion is that of gaps and that of the rate."""
    swing, window_s = 0.7, 20.0
    reqs = bursts(KEY, INST, RATE, cv=swing, window_s=window_s, gap_cv=0.5)
    found = describe(reqs, [window_s])
    # Phases of windows count from the first arrival, not from second 0.
    of_rate = RATE * window_s * swing**2 * 2 / 3
    assert 0.5 * of_rate < found[f"dispersion_{window_s:g}s"] < 1.7 * of_rate
    smooth = bursts(KEY, INST, RATE, cv=0.01, window_s=window_s, gap_cv=0.5)
    assert describe(smooth, [window_s])["cv_of_gaps"] == pytest.approx(0.5, rel=0.05)


def test_a_rate_of_nothing_ends():
    one = INST[0]
    draw = jax.jit(lambda level: varying(KEY, one, RATE, Steps([level], 1.0), gap_cv=CV).arrival_s)
    assert np.isinf(draw(0.0)).all()
    never = Steps([1.0, 0.0], 1.0) * Steps([0.0, 1.0], 1.0)
    assert np.isinf(varying(KEY, one, RATE, never, gap_cv=CV).arrival_s).all()


class TestClients:
    SHARES, SPREADS = np.array([0.6, 0.4]), np.array([0.5, 2.0])
    STEPS = (Steps([2.0, 0.0], 10.0), Steps([0.5, 1.5], 10.0))

    def own_times(self, rate, client):
        """Cumulated rates of a client at its arrivals, stream by stream."""
        reqs = superposed(
            KEY, INST, rate, shares=self.SHARES, cv=self.SPREADS, profiles=list(self.STEPS)
        )
        times = np.asarray(reqs.arrival_s)
        assert (np.diff(times) >= 0).all()
        ends = np.append(0, np.cumsum(np.tile(self.STEPS[client].levels, 100) * 10))
        return [
            rate * self.SHARES[client] * np.interp(row[own], 10 * np.arange(201), ends)
            for row, own in zip(times, np.asarray(reqs.client) == client, strict=True)
        ]

    @pytest.mark.parametrize("client", [0, 1])
    def test_each_has_a_rate_and_gaps_of_its_own(self, client):
        spread = self.SPREADS[client]
        gaps = np.concatenate([np.diff(row) for row in self.own_times(RATE, client)])
        law = stats.gamma(spread**-2, scale=spread**2)
        assert stats.kstest(gaps, law.cdf).pvalue > 0.01

    @pytest.mark.parametrize("client", [0, 1])
    def test_each_keeps_its_gaps_at_another_rate(self, client):
        slow, fast = (self.own_times(rate, client) for rate in (RATE, 1.5 * RATE))
        for one, other in zip(slow, fast, strict=True):
            both = min(one.size, other.size)
            assert both > 100
            np.testing.assert_allclose(one[:both], other[:both], rtol=1e-9, atol=1e-9)

    @pytest.mark.slow  # compiles a shape of its own
    def test_their_own_swings_make_the_total_swing(self):
        profile = Bursts(1.5, 10.0, num_windows=20)
        reqs = superposed(KEY, INST, RATE, shares=np.ones(10), profiles=profile)
        assert describe(reqs, [10.0])["dispersion_10s"] > 3  # 1 where all rates are constant

    @pytest.mark.parametrize(
        ("profiles", "message"),
        [
            ([Diurnal()], "profiles has 1 profiles; expected one for all, or 2, one a client"),
            (
                [Diurnal(), Ramp()],
                r"profiles\[1\] is Ramp.*; expected the kind and the number of levels of the first",
            ),
            ([Steps([1.0], 1.0), Steps([1.0, 2.0], 1.0)], r"profiles\[1\] is Steps.*; expected"),
            (Diurnal(swing=2.0), "swing is 2.0; expected a number from 0 to 1"),
        ],
    )
    def test_wrong_profiles_are_named(self, profiles, message):
        with pytest.raises(ValueError, match=message):
            superposed(KEY, INST, RATE, shares=[0.5, 0.5], profiles=profiles)


@jax.tree_util.register_static
class Fading(Profile):
    """A profile of somebody's own, which says what thinning needs alone."""

    def level(self, time_s):
        return jnp.exp(-time_s)

    @property
    def peak(self):
        return 1.0

    def require(self):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap_cv": 0.0}, "gap_cv is 0.0; expected a number from 0.01 to 1000"),
        ({"gap_cv": [1.0, 2.0]}, r"gap_cv has shape \(2,\); expected one number, or \(8,\)"),
        ({"law": "normal"}, "law is 'normal'; expected one of gamma, weibull"),
        ({"rate": 0.0}, "rate is 0.0; expected a finite number of requests a second > 0"),
        (
            {"profile": Diurnal() * Ramp()},
            "profile is a Product without time_at; gap_cv needs steps, or a smooth profile, or "
            "steps times one smooth profile; give one of these, or leave gap_cv out",
        ),
        ({"profile": Steps([1.0], 1.0) * Diurnal(swing=-1.0)}, "swing is -1.0; expected"),
        ({"profile": Fading()}, "profile is a Fading without time_at"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    arguments = {"rate": RATE, "profile": PROFILE, "gap_cv": CV} | change
    with pytest.raises(ValueError, match=message):
        varying(KEY, INST, **arguments)
