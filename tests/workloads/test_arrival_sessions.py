"""Sessions: prompts that hold what was said, turns that wait for answers and thought."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxsched.workloads.arrivals import Exponential, LogNormal, sessions

KEY = jax.random.key(8)
TTFT_S, TPOT_S, MOST = 0.5, 0.01, 16
SETTINGS = {
    "new_prompt": LogNormal(3000.0, 0.5),
    "output": Exponential(2000.0),
    "mean_turns": 3.0,
    "think_median_s": 5.0,
    "think_sigma": 0.5,
    "assumed_ttft_s": TTFT_S,
    "assumed_tpot_s": TPOT_S,
    "max_turns": MOST,
    "max_prompt_tokens": 2**24,
}


@pytest.fixture(scope="module")
def table():
    """A long stream, by session in order of turns; and the sessions that are over for sure."""
    reqs = sessions(KEY, 6000, rate=20.0, **SETTINGS)
    columns = [np.asarray(each) for each in (reqs.arrival_s, reqs.prompt_tokens)]
    columns += [np.asarray(each) for each in (reqs.output_tokens, reqs.client)]
    assert (np.diff(columns[0]) >= 0).all()
    order = np.lexsort((columns[0], columns[3]))
    arrival_s, prompt, output, client = (each[order] for each in columns)
    _, begin = np.unique(client, return_index=True)
    is_early = arrival_s[begin] < arrival_s.max() / 4
    return arrival_s, prompt, output, client, begin, is_early


def test_prompts_hold_all_that_was_said(table):
    _, prompt, output, client, begin, _ = table
    follows = np.flatnonzero(np.diff(client) == 0) + 1
    new = prompt[follows] - prompt[follows - 1] - output[follows - 1]
    law = stats.lognorm(0.5, scale=3000)
    for drawn in (new, prompt[begin]):
        assert drawn.min() >= 1
        assert stats.kstest(drawn, law.cdf).pvalue > 0.01
    assert stats.kstest(output, stats.expon(scale=2000).cdf).pvalue > 0.01


def test_a_turn_waits_for_the_answer_and_for_thought(table):
    arrival_s, _, output, client, begin, is_early = table
    follows = np.flatnonzero((np.diff(client) == 0) & np.isin(client[1:], client[begin[is_early]]))
    answer_s = TTFT_S + TPOT_S * output[follows]
    think_s = arrival_s[follows + 1] - arrival_s[follows] - answer_s
    assert stats.kstest(think_s, stats.lognorm(0.5, scale=5.0).cdf).pvalue > 0.01


def test_turns_are_geometric_and_sessions_start_at_random(table):
    arrival_s, _, _, client, begin, is_early = table
    turns = np.bincount(client)[is_early]
    assert turns.max() <= MOST
    share = [np.mean(turns > k) for k in range(1, 6)]
    assert share == pytest.approx([(2 / 3) ** k for k in range(1, 6)], abs=0.05)
    mean_turns = 3 * (1 - (2 / 3) ** MOST)
    gaps_s = np.diff(arrival_s[begin][is_early])
    assert stats.kstest(gaps_s, stats.expon(scale=mean_turns / 20).cdf).pvalue > 0.01


def test_the_rate_is_reached_once_the_first_come_back(table):
    arrival_s = table[0]
    end_s = arrival_s.max()
    settled = np.count_nonzero(arrival_s > end_s / 2) / (end_s / 2)
    assert settled == pytest.approx(20.0, rel=0.1)
    assert np.count_nonzero(arrival_s < 5) < 0.6 * 5 * 20


def test_the_same_sessions_start_sooner_at_a_higher_rate():
    def starts(rate):
        reqs = sessions(KEY, 400, rate=rate, **SETTINGS)
        client, place = np.unique(np.asarray(reqs.client), return_index=True)
        return client, np.asarray(reqs.arrival_s)[place], np.asarray(reqs.prompt_tokens)[place]

    (slow, slow_s, slow_prompt), (fast, fast_s, fast_prompt) = starts(2.0), starts(8.0)
    both = np.intersect1d(slow, fast)
    assert both.size > 50
    in_slow, in_fast = np.isin(slow, both), np.isin(fast, both)
    np.testing.assert_allclose(slow_s[in_slow], 4 * fast_s[in_fast])
    np.testing.assert_array_equal(slow_prompt[in_slow], fast_prompt[in_fast])


def test_jit_and_batches():
    def draw(key, rate):
        return sessions(key, 400, 2, rate=rate, **SETTINGS)

    plain, traced = draw(KEY, jnp.array([2.0, 8.0])), jax.jit(draw)(KEY, jnp.array([2.0, 8.0]))
    np.testing.assert_allclose(traced.arrival_s, plain.arrival_s, rtol=1e-6)
    np.testing.assert_array_equal(traced.client, plain.client)


def test_one_turn_each_is_a_poisson_process_of_new_prompts():
    reqs = sessions(KEY, 400, rate=2.0, **{**SETTINGS, "mean_turns": 1.0})
    assert reqs.client.tolist() == list(range(400))


def test_long_prompts_are_cut():
    reqs = sessions(KEY, 400, rate=2.0, **{**SETTINGS, "max_prompt_tokens": 6000})
    assert reqs.prompt_tokens.max() == 6000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_turns": 0.5}, "mean_turns is 0.5; expected a number from 1"),
        ({"think_sigma": -1.0}, "think_sigma is -1.0; expected a finite number >= 0"),
        ({"think_median_s": 0.0}, "think_median_s is 0.0; expected a finite number > 0"),
        ({"max_turns": 0}, "max_turns is 0; expected an integer >= 1"),
        ({"max_turns": 10**9}, "max_turns is 1000000000; expected at most"),
        ({"new_prompt": LogNormal(-1.0, 1.0)}, "median of new_prompt is -1.0"),
    ],
)
def test_wrong_sessions_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        sessions(KEY, 400, rate=2.0, **{**SETTINGS, **change})
