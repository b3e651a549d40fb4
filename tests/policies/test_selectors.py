"""Batch selectors against brute force and against the promises of each."""

import dataclasses
import functools
import operator

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies.selectors import (
    exact_dp,
    f_metric,
    greedy,
    local_swap,
    multiplier_sweep,
    resolve_selector,
    scaled_dp,
)
from jaxsched.workloads import uniform
from tests.reference import sorted_f as reference

MAX_INT32 = 2**31 - 1
CAPACITY = 60  # the largest of any small instance here

SELECTORS = {
    "exact_dp": exact_dp(CAPACITY),
    "scaled_dp": scaled_dp(theta=4, max_capacity=CAPACITY),
    "local_swap": local_swap(),
    "greedy": greedy(),
    "multiplier_sweep": multiplier_sweep(),
}
ANY_CAPACITY = ["scaled_dp", "local_swap", "greedy", "multiplier_sweep"]


def choose(selector, inst, remaining=None):
    """The first batch, bool ``[.., n]``; many instances are one program."""
    remaining = inst.is_real if remaining is None else jnp.asarray(remaining)
    return np.asarray(program(selector, np.ndim(inst.kv_capacity) > 0)(inst, remaining))


@functools.cache
def program(selector, is_mapped):
    def one(inst, remaining):
        return selector(inst)(remaining, inst.kv_capacity)

    return jax.jit(jax.vmap(one) if is_mapped else one)


def small_instances(seed):
    """200 instances of every character: even, uneven, long prompts, long answers, many ties.

    Ten requests, of which some remain (nobody in the first instance), and two rows of padding.
    """
    rng = np.random.default_rng(seed)
    shape = (200, 10)
    capacity = rng.integers(8, CAPACITY + 1, (200, 1))
    longest = np.array([(4, 60), (60, 4), (60, 60), (3, 3), (2, 60)])[np.arange(200) % 5]
    prompt = rng.integers(1, np.minimum(longest[:, :1], capacity - 1) + 1, shape)
    output = rng.integers(1, np.minimum(longest[:, 1:], capacity - prompt) + 1, shape)
    inst = Instance.from_lengths(prompt, output, kv_capacity=capacity[:, 0])
    twelve = Instance.from_lengths(*np.ones((2, 200, 12), int), kv_capacity=capacity[:, 0])
    inst = jax.tree.map(lambda leaf: leaf[0], stack([inst, twelve]))

    remaining = np.zeros((200, 12), bool)
    remaining[:, :10] = rng.random(shape) < rng.uniform(0.2, 1.2, (200, 1))
    remaining[np.arange(200), rng.integers(0, 10, 200)] = True
    remaining[0] = False
    return inst, remaining


def rows(inst, *masks):
    """Plain Python lengths and request lists, one instance after another."""
    prompt, output, capacity = (
        np.asarray(leaf).tolist()
        for leaf in (inst.prompt_tokens, inst.output_tokens, inst.kv_capacity)
    )
    for number in range(len(capacity)):
        if not all(mask[number].any() for mask in masks):
            continue
        lists = [np.flatnonzero(mask[number]).tolist() for mask in masks]
        yield prompt[number], output[number], capacity[number], *lists


def ratios_to_optimum(inst, members, optimal):
    return np.array(
        [
            float(reference.f_metric(output, batch) / reference.f_metric(output, best))
            for _, output, _, batch, best in rows(inst, members, optimal)
        ]
    )


def assert_feasible(inst, remaining, members):
    assert not (members & ~np.asarray(remaining)).any()
    size = np.asarray(inst.prompt_tokens, np.int64) + np.asarray(inst.output_tokens)
    assert ((size * members).sum(-1) <= np.asarray(inst.kv_capacity)).all()
    assert (members.any(-1) == np.asarray(remaining).any(-1)).all()


def test_exact_dp_finds_the_best_of_all_subsets(x64):
    inst, remaining = small_instances(seed=0)
    members = choose(SELECTORS["exact_dp"], inst, remaining)
    assert_feasible(inst, remaining, members)
    for prompt, output, capacity, requests, batch in rows(inst, remaining, members):
        best = reference.best_batch(prompt, output, capacity, requests)
        assert reference.f_metric(output, batch) == reference.f_metric(output, best)
        assert len(batch) == len(best)  # ties go to the larger batch


@pytest.mark.parametrize("name", SELECTORS)
def test_batches_respect_capacity_padding_and_the_remaining(name, x64):
    inst, remaining = small_instances(seed=1)
    assert_feasible(inst, remaining, choose(SELECTORS[name], inst, remaining))


@pytest.mark.parametrize("name", SELECTORS)
def test_one_by_one_is_the_same_as_mapped(name):
    inst, remaining = small_instances(seed=1)
    mapped = choose(SELECTORS[name], inst, remaining)
    for number in range(10):
        one = jax.tree.map(operator.itemgetter(number), inst)
        assert (choose(SELECTORS[name], one, remaining[number]) == mapped[number]).all()


lengths = st.one_of(
    st.integers(1, 5), st.integers(1, 2**27), st.integers(1, 2**30), st.just(MAX_INT32 // 2)
)
pairs = st.lists(st.tuples(lengths, st.integers(1, 2**27)), min_size=8, max_size=8)


@pytest.mark.slow
@settings(max_examples=10)
@given(pairs, st.lists(st.booleans(), min_size=8, max_size=8))
def test_huge_lengths_do_not_overflow(pairs, remaining):
    prompt, output = np.array(pairs).T
    for capacity in (int((prompt + output).max()), MAX_INT32):
        inst = Instance.from_lengths([prompt], [output], kv_capacity=[capacity])
        for name in ANY_CAPACITY:
            members = choose(SELECTORS[name], inst, np.array([remaining]))
            assert_feasible(inst, np.array([remaining]), members)


@pytest.mark.parametrize("name", ["local_swap", "multiplier_sweep"])
def test_sums_that_wrap_around_are_not_taken_for_small_ones(name):
    # One fits; of 2^30 tokens each, every fourth sum is 0 modulo 2^32.
    inst = Instance.from_lengths([2**30 - 1] * 200, [1] * 200, kv_capacity=MAX_INT32)
    assert choose(SELECTORS[name], inst).sum() == 1


def test_a_tie_between_windows_goes_to_the_larger_batch():
    # F = 128/128^2 = 512/256^2, and more in between.
    inst = Instance.from_lengths([1] * 256, [1] * 128 + [3] * 128, kv_capacity=2000)
    assert choose(greedy(1.0), inst).sum() == 256


def test_scaled_dp_converges_as_theta_falls():
    inst, remaining = small_instances(seed=3)
    optimal = choose(SELECTORS["exact_dp"], inst, remaining)
    mean_loss = []
    for theta in (16, 4, 1):
        members = choose(scaled_dp(theta, max_capacity=CAPACITY), inst, remaining)
        assert_feasible(inst, remaining, members)
        mean_loss.append(ratios_to_optimum(inst, members, optimal).mean() - 1)
    assert (np.diff(mean_loss) < 0).all()
    assert mean_loss[-1] == 0


def test_scaled_dp_takes_the_shortest_if_nothing_survives_scaling():
    # Two units of 8 tokens; both requests round up to three.
    inst = Instance.from_lengths([16, 14], [3, 4], kv_capacity=19)
    assert choose(scaled_dp(8, max_capacity=19), inst).tolist() == [True, False]


def test_scaled_dp_coarsens_beyond_its_table():
    inst, remaining = small_instances(seed=4)
    members = choose(scaled_dp(1, max_capacity=12), inst, remaining)
    assert_feasible(inst, remaining, members)
    optimal = choose(SELECTORS["exact_dp"], inst, remaining)
    ratio = ratios_to_optimum(inst, members, optimal)
    is_covered = np.asarray(inst.kv_capacity)[1:] <= 12
    assert is_covered.any()
    assert (ratio[is_covered] == 1).all()
    assert ratio[~is_covered].mean() < 1.5


@pytest.mark.slow
def test_multiplier_sweep_is_near_the_optimum_on_uniform():
    inst = uniform(jax.random.key(0), batch=500)
    optimal = choose(exact_dp(50), inst)
    ratio = ratios_to_optimum(inst, choose(multiplier_sweep(), inst), optimal)
    assert ratio.mean() <= 1.01
    assert ratio.max() <= 1.10


def test_multiplier_sweep_on_few_requests():
    inst, remaining = small_instances(seed=5)
    optimal = choose(SELECTORS["exact_dp"], inst, remaining)
    ratio = ratios_to_optimum(inst, choose(multiplier_sweep(), inst, remaining), optimal)
    assert ratio.mean() <= 1.01
    assert ratio.max() <= 1.5


@pytest.mark.parametrize("n", [128, 400])
def test_multiplier_sweep_is_the_best_prefix_over_its_orders(n):
    """Prefixes longer than a window of 128, and requests missing at the front, included."""
    multipliers = (0.0, 0.25, 4.0)  # keys exact in float32
    rng = np.random.default_rng(n)
    prompt, output = rng.integers(1, 9, n), rng.integers(1, 400, n)
    capacity = int(0.7 * (prompt + output).sum())
    remaining = rng.random(n) < 0.9
    remaining[np.argsort(output)[: n // 3]] = False
    inst = Instance.from_lengths([prompt], [output], kv_capacity=[capacity])
    members = choose(multiplier_sweep(multipliers), inst, remaining[None])
    requests = np.flatnonzero(remaining).tolist()
    expected = min(
        reference.f_metric(
            output.tolist(),
            reference.best_prefix(
                prompt.tolist(),
                output.tolist(),
                capacity,
                sorted(requests, key=lambda i: (output[i] + lam * (prompt[i] + output[i]), i)),
            ),
        )
        for lam in multipliers
    )
    found = reference.f_metric(output.tolist(), np.flatnonzero(members[0]).tolist())
    assert float(found / expected) == pytest.approx(1, rel=2e-7)


@pytest.mark.parametrize("quantile", [0.25, 0.5])
def test_greedy_fills_by_output_under_the_quantile(quantile):
    inst, remaining = small_instances(seed=6)
    members = choose(greedy(quantile), inst, remaining)
    for prompt, output, capacity, requests, batch in rows(inst, remaining, members):
        sizes = sorted(prompt[i] + output[i] for i in requests)
        cut = sizes[int(np.ceil(np.float32(quantile) * np.float32(len(sizes)))) - 1]
        order = [i for i in requests if prompt[i] + output[i] <= cut]
        order.sort(key=lambda i: (output[i], i))
        assert batch == sorted(reference.best_prefix(prompt, output, capacity, order))


@pytest.mark.parametrize("quantile", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_local_swap_ends_where_no_move_helps_and_never_above_its_start(quantile):
    start = greedy(quantile)
    inst, remaining = small_instances(seed=7)
    before = choose(start, inst, remaining)
    after = choose(local_swap(start), inst, remaining)
    assert_feasible(inst, remaining, after)
    num_better = 0
    for prompt, output, capacity, requests, begun, batch in rows(inst, remaining, before, after):
        metric = reference.f_metric(output, batch)
        assert metric <= reference.f_metric(output, begun)
        num_better += metric < reference.f_metric(output, begun)
        for other in reference.neighbours(prompt, output, capacity, requests, batch):
            assert reference.f_metric(output, other) >= metric
    assert num_better > 5


def test_f_metric(x64):
    inst = Instance.from_lengths([3, 1, 2], [2, 4, 1], kv_capacity=8)
    assert f_metric(inst, jnp.array([True, True, False])).item() == 6 / 4
    assert f_metric(inst, jnp.zeros(3, bool)).item() == np.inf
    assert f_metric(inst, inst.is_real).dtype == jnp.float32


def test_exact_dp_refuses_a_capacity_beyond_its_table():
    inst = Instance.from_lengths([[3, 1]] * 2, [[2, 4]] * 2, kv_capacity=[8, 9])
    with pytest.raises(ValueError, match=r"kv_capacity is 9 but .* max_capacity=8; pass max_cap"):
        exact_dp(max_capacity=8)(jax.tree.map(operator.itemgetter(1), inst))
    is_chosen = choose(exact_dp(max_capacity=8), inst).any(-1)  # unknown under jit: gives up
    assert is_chosen.tolist() == [True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: greedy(quantile=0.0), r"quantile is 0.0; expected a number in \(0, 1\]"),
        (lambda: greedy(quantile=1.5), "quantile is 1.5"),
        (lambda: exact_dp(max_capacity=1), "max_capacity is 1; expected at least 2"),
        (lambda: scaled_dp(theta=0), "theta is 0"),
        (lambda: scaled_dp(theta=8, max_capacity=4), "max_capacity is 4"),
        (lambda: multiplier_sweep([]), "multipliers is empty"),
        (lambda: multiplier_sweep([0.0, -1.0]), r"multipliers\[1\] is -1.0; expected a finite"),
        (lambda: multiplier_sweep([np.inf]), r"multipliers\[0\] is inf"),
        (
            lambda: resolve_selector("local_swop"),
            "no selector is called 'local_swop'; did you mean 'local_swap'",
        ),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_without_a_name_are_refused():
    with pytest.raises(TypeError, match=r"options \['theta'\] go with the name"):
        resolve_selector(greedy(), theta=3)
    with pytest.raises(TypeError, match="a selector is a function or the name of one, not 3"):
        resolve_selector(3)


def test_equal_options_give_the_same_selector():
    """So that what was compiled for one serves the other."""
    assert multiplier_sweep() is multiplier_sweep(np.array([*multiplier_sweep_defaults()]))
    assert resolve_selector("scaled_dp", theta=8) is scaled_dp(theta=8)
    assert local_swap() is resolve_selector("local_swap")


def multiplier_sweep_defaults():
    return [0.0, *np.geomspace(1e-4, 30.0, 31)]


@pytest.mark.parametrize("name", SELECTORS)
def test_other_numbers_compile_nothing(name):
    inst, remaining = small_instances(seed=1)
    choose(SELECTORS[name], inst, remaining)
    num_programs = program(SELECTORS[name], True)._cache_size()
    inst, remaining = small_instances(seed=2)
    smaller = dataclasses.replace(inst, kv_capacity=inst.kv_capacity - 1)
    choose(SELECTORS[name], smaller, remaining)
    assert program(SELECTORS[name], True)._cache_size() == num_programs
