"""The price bound: its value, its proof against schedules, and its manners."""

import itertools
import operator

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from jaxsched import bounds
from jaxsched.bounds import _price_blocks, _price_rounds
from jaxsched.bounds._price_ascent import ascend
from jaxsched.bounds._price_value import lagrangian
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import prioritize
from jaxsched.search.improve import improve
from jaxsched.workloads import mixed, worst_case
from tests.reference import clock_and_metrics as reference

MAX_INT32 = 2**31 - 1
COUNT, BLOCKS = 256, 64  # one shape for nearly all tests: few programs to compile
RULES = (
    *("smallest_volume", "shortest_output", "total_size", "fcfs"),
    *("sorted_f", "geometric", "receding_horizon"),
)


def by_the_formula(prompt, output, capacity, price):
    """L of the prices of rounds 1..T, every start tried and every round of it paid."""
    horizon = len(price)

    def cost(s, o, k):
        rounds = range(k + 1, min(k + o, horizon) + 1)
        return k + o + sum(price[t - 1] * (s + t - k) for t in rounds)

    least = [
        min(cost(s, o, k) for k in range(horizon + 1)) for s, o in zip(prompt, output, strict=True)
    ]
    return sum(least) - capacity * sum(price)


def best_total_latency(inst):
    """Least total latency that any of several rules and random orders reaches, ``[..]``."""
    rng = np.random.default_rng(0)
    orders = [prioritize(inst, rule) for rule in RULES]
    orders += [rng.permuted(np.broadcast_to(range(8), (*inst.is_real.shape,)), axis=-1)]
    totals = [
        np.where(
            inst.is_real, np.asarray(simulate(inst, order, discipline=discipline).completion), 0
        ).sum(axis=-1, dtype=np.int64)
        for order, discipline in itertools.product(orders, ("strict", "earliest_fit"))
    ]
    return np.min(totals, axis=0)


def random_instances(seed, count=COUNT, n=8):
    """Instances of 1 to n requests, from short and wide to long and narrow."""
    rng = np.random.default_rng(seed)
    longest, widest = rng.integers(1, 15, (count, 1)), rng.integers(1, 30, (count, 1))
    output, prompt = (
        rng.integers(1, longest + 1, (count, n)),
        rng.integers(1, widest + 1, (count, n)),
    )
    slack = rng.integers(0, 40, count) * rng.integers(0, 2, count)
    inst = Instance.from_lengths(prompt, output, kv_capacity=(prompt + output).max(axis=1) + slack)
    is_real = np.arange(n) < rng.integers(1, n + 1, (count, 1))
    return inst.replace(is_real=jnp.asarray(is_real))


def each(inst):
    for number in range(inst.kv_capacity.shape[0]):
        yield jax.tree.map(operator.itemgetter(number), inst)


def per_round(bound):
    return np.repeat(bound.prices, np.diff(bound.edges))


@pytest.mark.parametrize("num_blocks", [7, BLOCKS])
def test_the_value_is_the_formula_at_its_own_prices(num_blocks):
    inst = random_instances(seed=1)
    found = bounds.price(inst, num_blocks=num_blocks, num_steps=20)
    assert found.value.dtype == np.float64
    for number, one in itertools.islice(enumerate(each(inst)), 60):
        real = np.asarray(one.is_real)
        row = jax.tree.map(operator.itemgetter(number), found)
        expected = by_the_formula(
            np.asarray(one.prompt_tokens)[real].tolist(),
            np.asarray(one.output_tokens)[real].tolist(),
            int(one.kv_capacity),
            per_round(row).tolist(),
        )
        assert expected * (1 - 2e-9) <= row.value <= expected


def value_at(inst, edges, prices):
    value, starts = lagrangian(
        jax.tree.map(lambda leaf: leaf[None], inst), edges[None], prices[None]
    )
    return value[0], starts[0]


@pytest.mark.parametrize("rounds_a_block", [0, _price_rounds.ROUNDS_A_BLOCK])
def test_blocks_of_many_rounds_lose_nothing_of_the_formula(monkeypatch, rounds_a_block):
    """Vertices inside long blocks are found, where prices rise as well as where they fall."""
    monkeypatch.setattr(_price_rounds, "ROUNDS_A_BLOCK", rounds_a_block)
    rng = np.random.default_rng(2)
    for _ in range(200):
        edges = np.concatenate([[0], np.cumsum(rng.integers(1, 12, 6))])
        prices = rng.exponential(rng.choice([0.02, 0.3, 2]), 6) * rng.integers(0, 2, 6)
        output, prompt = rng.integers(1, 30, 3), rng.integers(1, 20, 3)
        inst = Instance.from_lengths(prompt, output, kv_capacity=60)
        value, starts = value_at(inst, edges, prices)
        price = np.repeat(prices, np.diff(edges)).tolist()
        expected = by_the_formula(prompt.tolist(), output.tolist(), 60, price)
        assert expected - 1e-8 * abs(expected) - 1e-10 <= value <= expected
        assert (starts >= 0).all()


@pytest.mark.parametrize("longest", [30, 3000, MAX_INT32])
def test_by_blocks_and_by_rounds_costs_are_the_same(longest):
    rng = np.random.default_rng(5)
    for _ in range(20):
        widths = rng.integers(0, 400, (3, 16))
        edges = np.concatenate([np.zeros((3, 1), int), np.cumsum(widths, axis=1)], axis=1)
        prices = rng.exponential(0.03, (3, 16)) * rng.integers(0, 2, (3, 16))
        tokens = rng.integers(1, longest, (2, 3, 12), dtype=np.int32)
        release = rng.integers(0, 6000, (3, 12)) * rng.integers(0, 2, (3, 12))
        (by_blocks, starts), (by_rounds, _) = (
            by.least_costs(edges, prices, *tokens, release) for by in (_price_blocks, _price_rounds)
        )
        np.testing.assert_allclose(by_rounds, by_blocks, rtol=1e-10)
        assert (starts <= np.maximum(edges[:, -1:], release)).all()
        assert (starts >= release).all()


def test_never_above_the_optimum_of_tiny_instances():
    rng = np.random.default_rng(3)
    instances, best = [], []
    for _ in range(120):
        n = int(rng.integers(1, 5))
        output = rng.integers(1, 5 if n < 4 else 4, n)
        prompt = rng.integers(1, 7, n)
        capacity = int((prompt + output).max() + rng.integers(0, 8))
        instances.append(Instance.from_lengths(prompt, output, kv_capacity=capacity))
        best.append(reference.least_total_latency(prompt.tolist(), output.tolist(), capacity))
    filler = Instance.from_lengths([9] * 8, [8] * 8, kv_capacity=20)
    inst = stack(instances + [filler] * (COUNT - len(instances)))
    ratio = bounds.price(inst, num_blocks=BLOCKS).value[: len(best)] / best
    assert ratio.max() <= 1
    assert ratio.max() > 1 - 1e-6
    assert ratio.mean() > 0.93


@pytest.fixture(scope="module", params=[COUNT, pytest.param(8 * COUNT, marks=pytest.mark.slow)])
def many(request):
    inst = random_instances(seed=4, count=request.param)
    return inst, best_total_latency(inst)


@pytest.mark.slow
@pytest.mark.parametrize(("num_blocks", "horizon"), [(BLOCKS, None), (BLOCKS, "random"), (7, None)])
def test_never_above_any_schedule_of_many_instances(many, num_blocks, horizon):
    inst, best = many
    if horizon == "random":
        horizon = np.random.default_rng(5).integers(1, 80, best.shape)
    found = bounds.price(inst, num_blocks=num_blocks, horizon=horizon, num_steps=100).value
    assert (found <= best).all()
    assert np.mean(found / best) > (0.8 if horizon is None else 0.6)


@pytest.mark.slow
@pytest.mark.parametrize("discipline", ["strict", "earliest_fit"])
@pytest.mark.parametrize("horizon", [None, 1, 9])
def test_never_above_what_a_search_from_its_own_starts_finds(discipline, horizon):
    inst = random_instances(seed=13, count=1024)
    found = bounds.price(inst, num_blocks=BLOCKS, horizon=horizon, num_steps=100)
    options = {"num_steps": 200, "num_chains": 1, "key": jax.random.key(0)}
    searched = improve(inst, found.best_starts, discipline=discipline, **options)
    assert (found.value <= searched.history[:, -1]).all()
    if horizon is None:
        assert np.mean(found.value / searched.history[:, -1]) > 0.85


@pytest.mark.slow
def test_tiny_horizons_are_valid_and_say_no_less_than_the_outputs():
    inst = random_instances(seed=6)
    outputs = np.where(inst.is_real, inst.output_tokens, 0).sum(axis=-1)
    horizon = np.append(np.random.default_rng(7).integers(1, 6, COUNT - 1), BLOCKS)
    value = bounds.price(inst, horizon=horizon, num_blocks=BLOCKS).value
    assert (value <= best_total_latency(inst)).all()
    assert (value >= 0.98 * outputs).all()


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(1, 4), st.integers(1, 2**29)),
            st.one_of(st.integers(1, 4), st.integers(1, 2**27)),
        ),
        min_size=8,
        max_size=8,
    ),
    st.one_of(st.integers(0, 9), st.integers(0, 2**29)),
    st.sampled_from([None, BLOCKS, 1000, MAX_INT32 - 1]),
)
@settings(max_examples=100)
def test_never_above_any_schedule_of_extreme_instances(pairs, slack, horizon):
    prompt, output = np.transpose(pairs)
    output[0] += BLOCKS  # for the shape
    inst = Instance.from_lengths(prompt, output, kv_capacity=(prompt + output).max() + slack)
    found = bounds.price(inst, num_blocks=BLOCKS, horizon=horizon, num_steps=10)
    assert found.value <= best_total_latency(inst)
    assert (found.best_starts >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["shortest_output", "fcfs", "total_size"])
def test_close_to_what_is_attained_in_the_worst_cases_of_simple_rules(rule):
    inst = worst_case(rule, capacity=64)
    attained = int(simulate(inst, prioritize(inst, "smallest_volume")).completion.sum())
    assert 0.75 * attained < bounds.price(inst).value <= attained


def test_at_the_prices_of_the_fluid_it_is_no_less_than_mean_busy():
    inst = random_instances(seed=7)
    start = bounds.price(inst, num_steps=0, num_blocks=256)
    assert start.history.shape == (COUNT, 0)
    horizon = start.edges[:, -1]
    work = np.where(inst.is_real, inst.volume, 0).sum(-1)
    covers = horizon * np.asarray(inst.kv_capacity) >= work
    assert covers.mean() > 0.9
    assert (start.value >= bounds.mean_busy(inst) * (1 - 2e-9))[covers].all()


@pytest.mark.slow
def test_more_steps_and_more_blocks_raise_it():
    inst = mixed(jax.random.key(0), num_requests=60, batch=2)
    values = [bounds.price(inst, num_steps=steps, num_blocks=128).value for steps in (0, 100, 200)]
    assert (values[0] < values[1]).all()
    assert (values[1] <= values[2]).all()
    assert (values[2] > bounds.price(inst, num_steps=200, num_blocks=16).value).all()


def test_it_beats_the_closed_forms_on_a_mixed_backlog():
    inst = mixed(jax.random.key(1), num_requests=60, batch=2)
    found = bounds.price(inst, num_blocks=128).value
    assert (found > 1.05 * bounds.volume(inst)).all()
    assert (found > 1.05 * bounds.mean_busy(inst)).all()
    total = simulate(inst, prioritize(inst, "smallest_volume")).completion.sum(axis=-1)
    assert (found > np.asarray(total) / 1.12).all()


def test_prices_and_starts_are_what_they_say():
    inst = stack(
        [
            mixed(jax.random.key(2), num_requests=50),
            mixed(jax.random.key(3), num_requests=60),
        ]
    )
    found = bounds.price(inst, num_blocks=128)
    assert (found.prices >= 0).all()
    assert (np.diff(found.edges) >= 0).all()
    assert (found.edges[:, 0] == 0).all()
    assert (found.best_starts[0, 50:] == -1).all()
    assert (found.best_starts[1] >= 0).all()
    # The bracket at the start itself, against its neighbours.
    price = np.concatenate([per_round(jax.tree.map(lambda x: x[1], found)), np.zeros(9000)])
    for i in range(0, 60, 7):
        s, o = int(inst.prompt_tokens[1, i]), int(inst.output_tokens[1, i])
        held = s + np.arange(1, o + 1)
        k = int(found.best_starts[1, i])
        costs = {j: j + o + price[j : j + o] @ held for j in (k - 1, k, k + 1) if j >= 0}
        assert costs[k] <= min(costs.values()) + 1e-9 * costs[k]


def test_history_climbs_to_the_value():
    inst = mixed(jax.random.key(4), num_requests=60, batch=2)
    found = bounds.price(inst, num_steps=250, num_blocks=128, tolerance=0)
    assert found.history.shape == (2, 250)
    assert found.history.dtype == np.float32
    np.testing.assert_allclose(np.nanmax(found.history, axis=1), found.value, rtol=2e-3)
    assert (found.history[:, 0] < found.value).all()


def test_an_instance_that_gains_little_stops():
    inst = mixed(jax.random.key(4), num_requests=60, batch=2)
    found = bounds.price(inst, num_steps=250, num_blocks=128, tolerance=1.0)
    assert np.isfinite(found.history[:, :100]).all()
    assert np.isnan(found.history[:, 100:]).all()


@pytest.mark.slow
def test_an_instance_is_bounded_alike_alone_and_in_a_batch():
    inst = random_instances(seed=8)
    together = bounds.price(inst, num_blocks=BLOCKS)
    for number, one in itertools.islice(enumerate(each(inst)), 4):
        alone = bounds.price(one, num_blocks=BLOCKS, horizon=together.edges[number, -1])
        assert alone.value == pytest.approx(together.value[number], rel=1e-5)
    nested = jax.tree.map(lambda leaf: leaf.reshape(2, COUNT // 2, *leaf.shape[1:]), inst)
    found = bounds.price(nested, num_blocks=BLOCKS)
    assert found.value.shape == (2, COUNT // 2)
    assert found.best_starts.shape == (2, COUNT // 2, 8)
    np.testing.assert_array_equal(found.value.reshape(-1), together.value)


@pytest.mark.slow
def test_an_instance_without_requests_is_bounded_by_nothing():
    inst = random_instances(seed=9)
    inst = inst.replace(is_real=inst.is_real.at[0].set(False))
    found = bounds.price(inst, num_blocks=BLOCKS)
    assert found.value[0] == 0
    assert (found.value[1:] > 0).all()
    assert (found.best_starts[0] == -1).all()


@pytest.mark.slow
def test_float64_on_changes_little(x64):
    inst = random_instances(seed=10)
    found = bounds.price(inst, num_blocks=BLOCKS, num_steps=100)
    assert found.history.dtype == np.float32
    assert (found.value <= best_total_latency(inst)).all()


def test_other_numbers_compile_nothing():
    inst = random_instances(seed=11)
    bounds.price(inst, num_blocks=BLOCKS, num_steps=100)
    before = ascend._cache_size()
    bounds.price(random_instances(seed=12), num_blocks=BLOCKS, num_steps=35, tolerance=0.1)
    bounds.price(inst, num_blocks=BLOCKS, num_steps=120, horizon=70)
    assert ascend._cache_size() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": -1}, "num_steps is -1; expected an integer from 0"),
        ({"num_blocks": 0}, "num_blocks is 0; expected an integer from 1"),
        ({"tolerance": -0.1}, "tolerance is -0.1; expected a number >= 0"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"horizon": 0}, "horizon is 0; expected whole rounds >= 1"),
        ({"horizon": 2.5}, "horizon is 2.5; expected whole rounds"),
        ({"horizon": MAX_INT32}, "below 2\\^31 - 1"),
        ({"horizon": [3, 4]}, r"horizon has shape \(2,\); expected one integer"),
    ],
)
def test_bad_arguments_are_named(options, message):
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match=message):
        bounds.price(inst, **options)


@pytest.mark.slow
def test_progress_is_shown_when_asked_for(capsys):
    inst = random_instances(seed=11)
    bounds.price(inst, num_blocks=BLOCKS, num_steps=100, progress=True)
    assert "0/100 step" in capsys.readouterr().err
    bounds.price(inst, num_blocks=BLOCKS, num_steps=100, progress=False)
    assert not capsys.readouterr().err
