"""Superposed clients: shares by Zipf, a spread each, and a start that cannot be told from later."""

import jax
import numpy as np
import pytest
from scipy import stats

import jaxsched as js
from jaxsched.workloads.arrivals import clients, describe, superposed, zipf, zipf_exponent

KEY = jax.random.key(6)
INST = js.workloads.chat(jax.random.key(0), 2000, batch=4)


def test_shares_follow_the_law():
    rank = np.arange(1, 163)
    shares = np.asarray(zipf(162, 1.3))
    np.testing.assert_allclose(shares, rank**-1.3 / np.sum(rank**-1.3), rtol=1e-5)
    for count, share in ((162, 0.63), (109, 0.79), (43, 0.93), (73, 0.68)):
        found = np.asarray(zipf(count, zipf_exponent(count, 10, share)))
        assert found[:10].sum() == pytest.approx(share, rel=1e-5)


def test_clients_get_their_share():
    reqs = clients(KEY, INST, 5.0, num_clients=20, top_10_share=0.8, cv=2.0)
    found = np.bincount(np.asarray(reqs.client).ravel(), minlength=20) / 8000
    expected = np.asarray(zipf(20, zipf_exponent(20, 10, 0.8)))
    # Counts of gaps with cv 2 spread twice as far as those of a Poisson process.
    assert (np.abs(found - expected) < 4 * 2 * np.sqrt(expected / 8000)).all()


@pytest.mark.parametrize("law", ["gamma", "weibull"])
def test_the_start_is_that_of_clients_who_have_always_sent(law):
    """Against a plain simulation that has run for long before it is looked at."""
    shares, cv, n = np.array([0.7, 0.3]), np.array([0.5, 2.0]), 8
    inst = js.workloads.chat(jax.random.key(0), n, batch=3000)
    reqs = superposed(KEY, inst, 2.0, shares=shares, cv=cv, law=law)
    rng = np.random.default_rng(0)
    if law == "gamma":
        draws = [rng.gamma(c**-2, c**2, (3000, 500)) for c in cv]
    else:  # the shapes of these two spreads, from tables
        shapes = [2.1013, 0.5427]
        draws = [rng.weibull(k, (3000, 500)) for k in shapes]
        draws = [each / stats.weibull_min(k).mean() for each, k in zip(draws, shapes, strict=True)]
    times = np.concatenate(
        [np.cumsum(each, axis=1) / (2 * p) for each, p in zip(draws, shares, strict=True)], axis=1
    )
    client = np.repeat([0, 1], 500)
    times = np.where(times < 60, np.inf, times)
    order = np.argsort(times, axis=1)[:, :n]
    expected = np.take_along_axis(times, order, axis=1)
    expected -= expected[:, :1]
    for place in (1, 3, n - 1):
        found = np.asarray(reqs.arrival_s)[:, place]
        assert stats.ks_2samp(found, expected[:, place]).pvalue > 0.01
    is_first = [np.asarray(reqs.client)[:, 0] == 0, client[order[:, 0]] == 0]
    assert np.mean(is_first[0]) == pytest.approx(np.mean(is_first[1]), abs=0.04)


def test_each_client_has_a_spread_of_its_own():
    shares, cv = [0.5, 0.3, 0.2], [0.5, 1.0, 3.0]
    reqs = superposed(KEY, INST, 5.0, shares=shares, cv=cv)
    for client, (share, own) in enumerate(zip(shares, cv, strict=True)):
        gaps = [
            np.diff(np.asarray(row.arrival_s)[np.asarray(row.client) == client]) for row in reqs
        ]
        law = stats.gamma(own**-2, scale=own**2 / (5 * share))
        assert stats.kstest(np.concatenate(gaps), law.cdf).pvalue > 0.001


def test_a_crowd_of_clients_is_nearly_a_poisson_process():
    reqs = superposed(KEY, INST, 5.0, shares=np.ones(200), cv=0.3)
    assert describe(reqs)["cv_of_gaps"] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": [0.5, 0.0]}, r"shares\[1\] is 0.0; expected a finite number > 0"),
        ({"shares": 1.0}, "shares is 1.0; expected a list, one number a client"),
        ({"cv": [1.0]}, r"cv has shape \(1,\); expected one number, or \(2,\), one a client"),
        ({"cv": 0.0}, "cv is 0.0; expected a number from 0.01 to 1000"),
        ({"law": "pareto"}, "law is 'pareto'; expected one of gamma, weibull"),
        ({"rate": -1.0}, "rate is -1.0"),
    ],
)
def test_wrong_clients_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        superposed(KEY, INST, **({"rate": 5.0, "shares": [0.5, 0.5]} | change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((20, 10, 0.5), "share is 0.5; expected a number above 10 / 20 and below 1"),
        ((20, 20, 0.9), "top is 20; expected an integer from 1 to 19"),
    ],
)
def test_shares_that_cannot_be_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        zipf_exponent(*arguments)
    with pytest.raises(ValueError, match=r"exponent is -1.0; expected a number from 0"):
        zipf(20, -1.0)
