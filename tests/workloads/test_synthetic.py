"""Random workloads follow their quantiles, and are pure functions of a key."""

import jax
import numpy as np
import pytest

from jaxsched import workloads
from jaxsched.workloads import _quantiles as q

KEY = jax.random.key(2024)
MANY = 200_000
COMMON = pytest.mark.parametrize("name", sorted(workloads.WORKLOADS))


def lengths(inst):
    return np.asarray(inst.prompt_tokens), np.asarray(inst.output_tokens)


def assert_follows(tokens, percents, quantiles):
    """The share of draws at or below each knot is the stated one, within 4.5 standard errors."""
    for knot in sorted(set(quantiles)):
        # Draws between knot - 0.5 and knot + 0.5 round to the knot.
        share = np.interp(knot + 0.5, quantiles, percents) / 100
        error = 4.5 * np.sqrt(share * (1 - share) / tokens.size)
        assert np.mean(tokens <= knot) == pytest.approx(share, abs=error + 1e-9), knot


def summarization_by_rejection(rng, count):
    """The same law the slow, obvious way: redraw the prompt in its fifth until the pair fits."""
    fifth = rng.integers(0, 5, count)
    percent = rng.uniform(0, 100, count)
    output = np.zeros(count)
    for row, quantiles in enumerate(q.SUMMARIZATION_OUTPUT_BY_FIFTH):
        drawn = np.interp(percent, q.OUTPUT_PERCENTS, quantiles)
        output = np.where(fifth == row, np.round(drawn), output)
    prompt = np.full(count, np.inf)
    while (is_open := prompt + output > 4096).any():
        percent = 20 * fifth[is_open] + rng.uniform(0, 20, is_open.sum())
        prompt[is_open] = np.round(np.interp(percent, q.PERCENTS, q.SUMMARIZATION_PROMPT))
    return prompt, output


def largest_gap(first, second):
    """Kolmogorov-Smirnov distance between two samples."""
    values = np.union1d(first, second)
    shares = [np.searchsorted(np.sort(x), values, side="right") / x.size for x in (first, second)]
    return np.abs(shares[0] - shares[1]).max()


@COMMON
@pytest.mark.parametrize(("batch", "leading"), [(None, ()), (2, (2,))])
def test_shapes_and_types(name, batch, leading, x64):
    inst = workloads.WORKLOADS[name](KEY, 40, batch)
    assert inst.prompt_tokens.shape == inst.output_tokens.shape == (*leading, 40)
    assert inst.kv_capacity.shape == leading
    assert np.all(np.asarray(inst.kv_capacity) == 16492)
    assert np.all(np.asarray(inst.is_real))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(inst)} == {"int32", "bool"}


@COMMON
def test_equal_keys_give_equal_instances_also_inside_jit_and_vmap(name):
    draw = workloads.WORKLOADS[name]
    keys = jax.random.split(KEY, 3)
    mapped = jax.jit(jax.vmap(lambda key: draw(key, 40)))(keys)
    alone = jax.tree.map(lambda *leaves: np.stack(leaves), *(draw(key, 40) for key in keys))
    jax.tree.map(np.testing.assert_array_equal, mapped, alone)
    assert len({tuple(row) for row in np.asarray(mapped.prompt_tokens).tolist()}) == 3


@COMMON
def test_numbers_do_not_depend_on_the_width_of_types(name):
    drawn = []
    for wide in (False, True):
        with jax.enable_x64(wide):
            drawn.append(lengths(workloads.WORKLOADS[name](jax.random.key(5), 40)))
    np.testing.assert_array_equal(drawn[0], drawn[1])


@COMMON
def test_nothing_is_traced_again_for_another_key_or_capacity(name):
    draw = workloads.WORKLOADS[name]
    draw(KEY, 40, 2)
    with jax.no_tracing(True):
        draw(jax.random.key(7), 40, 2, kv_capacity=5000)


def test_chat_follows_its_quantiles():
    prompt, output = lengths(workloads.chat(KEY, MANY))
    assert_follows(prompt, q.PERCENTS, q.CHAT_PROMPT)
    assert_follows(output, q.PERCENTS, q.CHAT_OUTPUT)
    assert prompt.min() == output.min() == 1
    assert (prompt.max(), output.max()) == (499, 599)


def test_chat_draws_prompt_and_output_independently():
    prompt, output = lengths(workloads.chat(KEY, MANY))
    assert np.corrcoef(prompt, output)[0, 1] == pytest.approx(0, abs=4 / np.sqrt(MANY))


def test_summarization_follows_the_law_of_redrawing():
    prompt, output = lengths(workloads.summarization(KEY, MANY))
    expected = summarization_by_rejection(np.random.default_rng(3), MANY)
    limit = 1.95 * np.sqrt(2 / MANY)  # exceeded by one pair of equal laws in a thousand
    assert largest_gap(prompt, expected[0]) < limit
    assert largest_gap(output, expected[1]) < limit
    assert largest_gap(prompt + output, sum(expected)) < limit
    assert largest_gap(prompt - output, expected[0] - expected[1]) < limit


def test_summarization_resembles_the_articles():
    """Means 2588 and 291, Pearson -0.46, Spearman -0.11: how close the generator comes."""
    prompt, output = lengths(workloads.summarization(KEY, MANY))
    ranks = [np.argsort(np.argsort(x)) for x in (prompt, output)]
    assert prompt.mean() == pytest.approx(2588, rel=0.015)
    assert output.mean() == pytest.approx(291, rel=0.03)
    assert np.corrcoef(prompt, output)[0, 1] == pytest.approx(-0.40, abs=0.01)
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(-0.12, abs=0.01)


def test_summarization_outputs_follow_the_quantiles_of_their_fifth():
    prompt, output = lengths(workloads.summarization(KEY, MANY))
    edges = [q.SUMMARIZATION_PROMPT[q.PERCENTS.index(percent)] for percent in (20, 40, 60, 80)]
    inside = ~np.isin(prompt, edges)  # a prompt on an edge may be of either fifth
    fifth = np.searchsorted(edges, prompt)
    for row, quantiles in enumerate(q.SUMMARIZATION_OUTPUT_BY_FIFTH):
        assert_follows(output[inside & (fifth == row)], q.OUTPUT_PERCENTS, quantiles)


def test_summarization_never_exceeds_its_context():
    prompt, output = lengths(workloads.summarization(KEY, MANY, batch=5))
    assert (prompt + output).max() == 4096
    assert prompt.min() == 1
    assert output.min() >= 5
    assert prompt.max() <= 4054


def is_no_chat(inst):
    prompt, output = lengths(inst)
    return (prompt >= 500) | (output >= 600)


def test_mixed_draws_chat_with_probability_four_fifths():
    share = 0.2 * is_no_chat(workloads.summarization(KEY, MANY)).mean()
    found = is_no_chat(workloads.mixed(KEY, MANY)).mean()
    assert found == pytest.approx(share, abs=5 * np.sqrt(share / MANY))


def test_mixed_takes_its_lengths_from_both_workloads():
    inst = workloads.mixed(KEY, MANY)
    chat, article = workloads.chat(KEY, MANY), workloads.summarization(KEY, MANY)
    for mix, part, other in zip(lengths(inst), lengths(chat), lengths(article), strict=True):
        for tokens in (1, 20, 200, 2000):
            share = 0.8 * np.mean(part <= tokens) + 0.2 * np.mean(other <= tokens)
            assert np.mean(mix <= tokens) == pytest.approx(share, abs=5 * np.sqrt(0.5 / MANY))


def test_mixed_with_exact_counts_has_floor_of_four_fifths_chat():
    drawn = is_no_chat(workloads.mixed(KEY, 200, batch=400)).sum(axis=-1)
    exact = is_no_chat(workloads.mixed(KEY, 200, batch=400, exact_counts=True)).sum(axis=-1)
    assert drawn.max() > 40
    assert exact.max() == 40
    exact = is_no_chat(workloads.mixed(KEY, 7, batch=400, exact_counts=True)).sum(axis=-1)
    assert exact.max() == 2  # 7 - floor(5.6)


def test_mixed_with_exact_counts_shuffles_each_instance():
    is_article = is_no_chat(workloads.mixed(KEY, 200, batch=400, exact_counts=True))
    share = is_article.mean(axis=0)
    assert np.abs(share - share.mean()).max() < 5 * np.sqrt(0.19 * 0.81 / 400)
    assert len(np.unique(is_article, axis=0)) == 400


def test_uniform_stays_in_its_ranges_and_reaches_them(x64):
    inst = workloads.uniform(KEY, batch=3000)
    prompt, output = lengths(inst)
    capacity, real = np.asarray(inst.kv_capacity), np.asarray(inst.is_real)
    count = np.asarray(inst.num_requests)
    assert set(capacity) == set(range(30, 51))
    assert set(count) == set(range(40, 61))
    np.testing.assert_array_equal(real, np.arange(60) < count[:, None])
    assert set(prompt[real]) == set(range(1, 6))
    room = capacity[:, None] - prompt
    assert np.all((output >= 1) & (output <= room))
    assert np.any((output == room) & real)
    assert np.all(prompt[~real] == 1)
    assert np.all(output[~real] == 1)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(inst)} == {"int32", "bool"}


def test_uniform_outputs_are_uniform():
    inst = workloads.uniform(KEY, batch=3000)
    prompt, output = lengths(inst)
    real = np.asarray(inst.is_real)
    level = (output - 0.5) / (np.asarray(inst.kv_capacity)[:, None] - prompt)
    assert level[real].mean() == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / real.sum()))


def test_uniform_without_batch_is_one_instance():
    inst = workloads.uniform(KEY)
    assert inst.prompt_tokens.shape == (60,)
    assert inst.kv_capacity.shape == ()


def test_uniform_of_a_given_number_of_requests_has_no_padding():
    inst = workloads.uniform(KEY, 7, 50)
    assert inst.prompt_tokens.shape == (50, 7)
    assert inst.is_real.all()
    assert set(np.asarray(inst.prompt_tokens).ravel()) == set(range(1, 6))
    size = np.asarray(inst.prompt_tokens + inst.output_tokens)
    assert np.all(size <= np.asarray(inst.kv_capacity)[:, None])
    assert workloads.uniform(KEY, 1000).num_requests.item() == 1000
    with pytest.raises(ValueError, match="num_requests is 0; expected an integer from 1"):
        workloads.uniform(KEY, num_requests=0)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("chat", {"kv_capacity": 1097}, "kv_capacity is 1097; expected at least 1098"),
        ("summarization", {"kv_capacity": 4095}, "kv_capacity is 4095; expected at least 4096"),
        ("mixed", {"kv_capacity": 4095}, "kv_capacity is 4095; expected at least 4096"),
        ("chat", {"kv_capacity": 2**31}, "kv_capacity is 2147483648; expected an integer from 1"),
        ("chat", {"kv_capacity": 2000.0}, "kv_capacity is 2000.0; expected an integer"),
        ("mixed", {"num_requests": 0}, "num_requests is 0; expected an integer from 1"),
        ("mixed", {"num_requests": 3.5}, "num_requests is 3.5; expected an integer"),
        ("mixed", {"batch": 0}, "batch is 0; expected an integer from 1"),
        ("chat", {"num_requests": 3_585_115}, "expected at most 3585114"),
        ("summarization", {"num_requests": 529_459}, "expected at most 529458"),
    ],
)
def test_errors_name_argument_value_and_expectation(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        workloads.WORKLOADS[name](KEY, **{"num_requests": 3, **arguments})


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_a_larger_batch_adds_instances_to_a_smaller(name):
    small, large = (workloads.WORKLOADS[name](KEY, 30, batch=batch) for batch in (2, 5))
    np.testing.assert_array_equal(large.prompt_tokens[:2], small.prompt_tokens)
    np.testing.assert_array_equal(large.output_tokens[:2], small.output_tokens)


def test_the_least_capacity_is_accepted():
    assert int(workloads.chat(KEY, 40, kv_capacity=1098).kv_capacity) == 1098
    assert int(workloads.mixed(KEY, 40, kv_capacity=4096).kv_capacity) == 4096
