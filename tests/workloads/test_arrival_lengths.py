"""Lengths have the laws asked for, and go together as asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxsched as js
from jaxsched.workloads.arrivals import (
    Exponential,
    LogNormal,
    Mixture,
    Pareto,
    Sample,
    requests,
    superposed,
    with_lengths,
)

KEY = jax.random.key(7)
N = 8000
# So long that rounding to tokens does not show.
LOG_NORMAL, EXPONENTIAL, PARETO = LogNormal(5e4, 0.8), Exponential(5e4), Pareto(2e4, 2.5)
BIMODAL = Mixture(LogNormal(2e4, 0.4), LogNormal(3e5, 0.4), 0.7)
LIMITS = {"max_prompt_tokens": 2**24, "max_output_tokens": 2**24}


def bimodal_cdf(tokens):
    parts = stats.lognorm(0.4, scale=2e4), stats.lognorm(0.4, scale=3e5)
    return 0.7 * parts[0].cdf(tokens) + 0.3 * parts[1].cdf(tokens)


ORACLES = {
    "log-normal": (LOG_NORMAL, stats.lognorm(0.8, scale=5e4).cdf),
    "exponential": (EXPONENTIAL, stats.expon(scale=5e4).cdf),
    "pareto": (PARETO, stats.pareto(2.5, scale=2e4).cdf),
    "bimodal": (BIMODAL, bimodal_cdf),
}


@pytest.mark.parametrize("name", ORACLES)
def test_each_law_is_that_of_scipy(name):
    law, cdf = ORACLES[name]
    reqs = requests(KEY, N, prompt=law, output=law, rank_correlation=-0.5, **LIMITS)
    for tokens in (reqs.prompt_tokens, reqs.output_tokens):
        assert tokens.dtype == np.int32
        assert stats.kstest(np.asarray(tokens), cdf).pvalue > 0.01
    at = jnp.array([1e4, 5e4, 2e5])
    np.testing.assert_allclose(1 - np.asarray(law.survival(at)), cdf(np.asarray(at)), atol=2e-6)


@pytest.mark.parametrize("rank", [-0.5, -0.1, 0.0, 0.4, 0.8, 1.0])
def test_the_rank_correlation_is_as_stated_whatever_the_laws(rank):
    reqs = requests(KEY, N, prompt=PARETO, output=BIMODAL, rank_correlation=rank, **LIMITS)
    found = stats.spearmanr(reqs.prompt_tokens, reqs.output_tokens).statistic
    assert found == pytest.approx(rank, abs=0.03)


def test_streams_have_correlations_of_their_own_and_a_batch_only_adds():
    ranks = np.array([-0.4, 0.6])
    reqs = requests(
        KEY, N, 2, prompt=LOG_NORMAL, output=EXPONENTIAL, rank_correlation=ranks, **LIMITS
    )
    found = [stats.spearmanr(row.prompt_tokens, row.output_tokens).statistic for row in reqs]
    assert found == pytest.approx(ranks, abs=0.03)
    assert not np.asarray(reqs.arrival_s).any()


def test_lengths_are_whole_and_cut_to_the_limits():
    reqs = requests(
        *(KEY, N),
        prompt=LogNormal(3.0, 2.0),
        output=Sample([5, 6, 100]),
        max_prompt_tokens=50,
        max_output_tokens=60,
    )
    assert reqs.prompt_tokens.min() == 1
    assert reqs.prompt_tokens.max() == 50
    values, counts = np.unique(np.asarray(reqs.output_tokens), return_counts=True)
    assert values.tolist() == [5, 6, 60]
    assert counts / N == pytest.approx([1 / 3] * 3, abs=0.02)


def test_clients_have_lengths_of_their_own():
    inst = js.workloads.chat(jax.random.key(0), N)
    reqs = superposed(KEY, inst, 5.0, shares=[0.5, 0.5])
    medians = np.array([100.0, 1000.0])
    law = Mixture(LogNormal(medians, 0.5), LogNormal(9000.0, 0.1), np.array([1.0, 0.0]))
    reqs = with_lengths(reqs, KEY, prompt=LogNormal(medians, 0.5), output=law)
    client = np.asarray(reqs.client)
    for tokens, expected in ((reqs.prompt_tokens, medians), (reqs.output_tokens, [100.0, 9000.0])):
        found = [np.median(np.asarray(tokens)[client == each]) for each in (0, 1)]
        assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.slow
def test_jit_vmap_and_traced_numbers():
    def draw(key, median, rank):
        law = LogNormal(median, 0.8)
        return requests(key, 500, prompt=law, output=BIMODAL, rank_correlation=rank)

    plain = draw(KEY, 50.0, 0.3)
    keys = jnp.stack([jax.random.key(1), KEY])
    each = jax.vmap(draw, (0, None, None))(keys, 50.0, 0.3)
    for found in (jax.jit(draw)(KEY, 50.0, 0.3), each[1]):
        np.testing.assert_allclose(found.prompt_tokens, plain.prompt_tokens, atol=1)
        np.testing.assert_allclose(found.output_tokens, plain.output_tokens, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank_correlation": 1.5}, "rank_correlation is 1.5; expected a number from -1 to 1"),
        ({"prompt": LogNormal(0.0, 1.0)}, "median of prompt is 0.0; expected a finite number"),
        ({"output": Exponential(np.inf)}, "mean of output is inf"),
        ({"output": Pareto(1.0, 0.0)}, "tail of output is 0.0"),
        (
            {"output": Mixture(LOG_NORMAL, PARETO, 2.0)},
            "share_first of output is 2.0; expected a number from 0 to 1",
        ),
        ({"prompt": Sample([3, 2])}, r"tokens of prompt\[1\] is 2; expected ascending numbers"),
        ({"prompt": Sample([])}, "tokens of prompt is .*; expected a list of numbers"),
        ({"max_output_tokens": 0}, "max_output_tokens is 0; expected an integer from 1"),
        (
            {"prompt": LogNormal([1.0, 2.0], 1.0)},
            "prompt has a number per client; give one number, or requests with clients",
        ),
    ],
)
def test_wrong_lengths_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        requests(KEY, N, **({"prompt": LOG_NORMAL, "output": EXPONENTIAL} | change))


def test_a_client_without_a_number_is_named():
    reqs = js.Requests.from_arrays([0.0, 1.0], [3, 4], [5, 6], client=[0, 2])
    with pytest.raises(ValueError, match=r"client\[1\] is 2; expected less than 2"):
        with_lengths(reqs, KEY, prompt=LogNormal([1.0, 2.0], 1.0), output=EXPONENTIAL)
