"""The search over orders: exact, never worse, and the same however it is cut up."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched import improve
from jaxsched._lib import chunks

KEY = jax.random.key(3)
DISCIPLINES = ["strict", "earliest_fit"]


def random_instances(batch, n, seed=0):
    """Small backlogs of few tokens, where the order matters much."""
    rng = np.random.default_rng(seed)
    prompt, output = rng.integers(1, 9, (2, batch, n))
    return js.Instance.from_lengths(prompt, output, kv_capacity=rng.integers(17, 25, batch))


def total_latency(inst, sched):
    return js.metrics.summary(inst, sched)["total_latency_rounds"]


def row(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def assert_same(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def backlogs():
    """Five backlogs of 24, 17, 24, 20 and 1 requests, padded."""
    inst = random_instances(5, 24)
    sizes = [24, 17, 24, 20, 1]
    return js.stack(
        [
            js.Instance.from_lengths(
                inst.prompt_tokens[i, :n], inst.output_tokens[i, :n], kv_capacity=24
            )
            for i, n in enumerate(sizes)
        ]
    )


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_it_finds_the_best_of_all_orders(discipline):
    n = 6
    inst = random_instances(4, n)
    orders = np.array(list(itertools.permutations(range(n))))
    every = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(orders), axis=0), inst)
    sched = js.simulate(every, np.tile(orders, (4, 1)), discipline=discipline)
    least = total_latency(every, sched).reshape(4, -1).min(axis=-1)
    found = improve(inst, "fcfs", num_steps=400, num_chains=4, key=KEY, discipline=discipline)
    np.testing.assert_array_equal(found.history[:, -1], least)
    assert (found.history[:, 0] > least).any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_the_result_is_exact_and_never_worse_than_the_start(backlogs, discipline):
    priority = np.random.default_rng(1).random(backlogs.prompt_tokens.shape)
    options = {"discipline": discipline, "admission": "peak", "max_num_seqs": [3, 9, 2, 7, 1]}
    found = improve(backlogs, priority, num_steps=300, num_chains=3, key=KEY, **options)

    before = js.simulate(backlogs, priority, **options)
    again = js.simulate(backlogs, found.priority, **options)
    assert_same(found.schedule, again)
    np.testing.assert_array_equal(found.history[:, 0], total_latency(backlogs, before))
    np.testing.assert_array_equal(found.history[:, -1], total_latency(backlogs, again))
    assert (np.diff(found.history, axis=-1) <= 0).all()
    assert (found.history[:4, -1] < found.history[:4, 0]).all()
    assert found.steps.tolist() == [0, 256, 300]
    assert found.evaluations.tolist() == [0, 768, 900]
    assert js.verify(backlogs, found.schedule).is_feasible.all()


def test_the_best_order_is_kept_where_no_step_helps(backlogs):
    start = improve(backlogs, "smallest_volume", num_steps=3000, num_chains=3, key=KEY)
    found = improve(backlogs, start.priority, num_steps=1, num_chains=3, key=jax.random.key(4))
    assert (found.history[:, -1] <= start.history[:, -1]).all()


def test_padding_comes_last_and_changes_nothing(backlogs):
    found = improve(backlogs, "smallest_volume", num_steps=300, num_chains=3, key=KEY)
    np.testing.assert_array_equal(
        np.sort(found.priority, axis=-1), np.broadcast_to(np.arange(24), (5, 24))
    )
    assert found.priority.dtype == jnp.int32
    sizes = np.asarray(backlogs.num_requests)
    real = np.asarray(backlogs.is_real)
    assert (
        np.asarray(found.priority)[real] < np.broadcast_to(sizes[:, None], real.shape)[real]
    ).all()
    assert (np.asarray(found.schedule.start)[~real] == -1).all()

    short = js.Instance.from_lengths(
        backlogs.prompt_tokens[1, :17], backlogs.output_tokens[1, :17], kv_capacity=24
    )
    alone = improve(short, "smallest_volume", num_steps=300, num_chains=3, key=KEY)
    np.testing.assert_array_equal(alone.priority, found.priority[1, :17])
    np.testing.assert_array_equal(alone.history, found.history[1])


@pytest.mark.slow
def test_an_instance_gets_the_same_in_any_batch(backlogs):
    options = {"num_steps": 300, "num_chains": 3, "key": KEY}
    found = improve(backlogs, "fcfs", **options)
    assert_same(improve(backlogs, "fcfs", **options), found)
    assert_same(improve(backlogs, js.policies.fcfs, **options), found)
    single = improve(row(backlogs, 2), "fcfs", **options)
    assert single.priority.shape == (24,)
    np.testing.assert_array_equal(single.priority, found.priority[2])
    np.testing.assert_array_equal(single.history, found.history[2])

    many = jax.tree.map(lambda leaf: jnp.tile(leaf, (8,) + (1,) * (leaf.ndim - 1)), backlogs)
    folded = jax.tree.map(lambda leaf: leaf.reshape(4, 10, *leaf.shape[1:]), many)
    spread = improve(folded, "fcfs", **options)  # more chains than one group holds
    assert spread.history.shape == (4, 10, 3)
    np.testing.assert_array_equal(spread.priority.reshape(8, 5, 24)[5], found.priority)


@pytest.mark.slow
@pytest.mark.parametrize("num_chains", [1, 3])
def test_a_search_that_goes_on_equals_one_without_a_pause(backlogs, num_chains):
    whole = improve(backlogs, "fcfs", num_steps=8400, num_chains=num_chains, key=KEY)
    part = improve(backlogs, "fcfs", num_steps=4096, num_chains=num_chains, key=KEY)
    part = improve(backlogs, part, num_steps=100, key=KEY)
    part = improve(backlogs, part, num_steps=8400 - 4196, key=KEY)
    for name in ("priority", "schedule", "chains"):
        assert_same(getattr(part, name), getattr(whole, name))
    assert 4196 in part.steps
    is_common = np.isin(part.steps, whole.steps)
    np.testing.assert_array_equal(part.history[:, is_common], whole.history)


def test_other_keys_and_chains_search_elsewhere(backlogs):
    one, other = (
        improve(backlogs, "fcfs", num_steps=64, num_chains=3, key=jax.random.key(seed))
        for seed in (0, 1)
    )
    assert (one.chains.order != other.chains.order).any()
    assert (one.chains.order[:, 0] != one.chains.order[:, 1]).any()


@pytest.mark.slow
def test_a_lone_request_and_equal_requests_have_nothing_to_gain():
    for n, capacity in ((1, 5), (4, 100), (4, 5)):
        inst = js.Instance.from_lengths([2] * n, [3] * n, kv_capacity=capacity)
        found = improve(inst, "fcfs", num_steps=20, num_chains=2, key=KEY)
        assert found.history[0] == found.history[-1]
        np.testing.assert_array_equal(
            np.sort(found.schedule.start), js.simulate(inst, range(n)).start
        )


@pytest.mark.usefixtures("x64")
def test_sums_beyond_int32_are_exact():
    most = 2**31 - 1
    output = [most // 4, most // 3, 1, 5, most // 8]  # one after another
    inst = js.Instance.from_lengths([1] * 5, output, kv_capacity=most // 3 + 1)
    found = improve(inst, np.argsort(output)[::-1].argsort(), num_steps=300, num_chains=2, key=KEY)
    assert found.history[0] > 2**32
    assert found.history[-1] == np.asarray(found.schedule.completion, np.float64).sum()
    orders = np.array(list(itertools.permutations(range(5))))
    every = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], len(orders), axis=0), inst)
    assert found.history[-1] == total_latency(every, js.simulate(every, orders)).min()


def test_nothing_compiles_for_other_numbers(compiled):
    def run(seed, **options):
        inst = random_instances(3, 10, seed)
        improve(inst, "smallest_volume", num_chains=2, key=jax.random.key(seed), **options)

    with compiled() as events:
        run(0, num_steps=300)
    assert events
    with compiled() as events:
        run(1, num_steps=700, bound=np.ones(3), progress=False)
    assert not events


@pytest.mark.parametrize("bound", [None, [30.0, 20.0, 50.0, 40.0, 2.0]])
def test_it_shows_the_gap_to_the_bound(backlogs, capsys, bound):
    found = improve(
        backlogs, "fcfs", num_steps=300, num_chains=3, key=KEY, bound=bound, progress=True
    )
    lower = js.bounds.volume(backlogs) if bound is None else bound
    gap = np.mean(found.history[:, 1] / lower - 1)
    shown = capsys.readouterr().err
    assert f"{gap:.2%} above bound" in shown
    assert "steps a chain" in shown
    change = np.mean(found.history[:, -1] / found.history[:, 0] - 1)
    assert repr(found) == (
        f"Improvement(leading=(5,), n=24, 3 chains of 300 steps, total latency {change:+.2%})"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0; expected an integer from 1"),
        ({"num_steps": 2.5}, "num_steps is 2.5; expected an integer from 1"),
        ({"num_chains": -1}, "num_chains is -1; expected an integer from 1"),
        ({"discipline": "loose"}, "discipline is 'loose'; expected one of"),
        ({"max_num_seqs": 0}, "max_num_seqs is 0; expected integers >= 1"),
        ({"bound": [1.0, 2.0]}, r"bound has shape \(2,\); expected one number for each instance"),
        ({"start": [1.0, np.nan]}, "the start: the rule gave a real request the priority NaN"),
        ({"start": [1.0]}, r"priority has shape \(1,\) but the instance has \(2,\)"),
        ({"start": "no_such_rule"}, "no rule is called 'no_such_rule'"),
        ({"start": lambda inst: inst.volume * np.nan}, "rule '<lambda>': the rule gave a real"),
    ],
)
def test_errors_name_the_field(options, message):
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match=message):
        improve(inst, **({"start": "fcfs", "key": KEY, "num_steps": 4, "num_chains": 2} | options))


def test_a_search_goes_on_only_where_it_fits():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    found = improve(inst, "fcfs", num_steps=1, num_chains=2, key=KEY)
    with pytest.raises(ValueError, match="num_chains is 3 but the search to go on with has 2"):
        improve(inst, found, num_chains=3, key=KEY)
    other = js.Instance.from_lengths([3], [2], kv_capacity=8)
    with pytest.raises(ValueError, match=r"has shape \(2,\) but the instance has \(1,\)"):
        improve(other, found, key=KEY)
    with pytest.raises(ValueError, match="another instance, discipline, admission or max_num_seqs"):
        improve(inst, found, key=KEY, max_num_seqs=1)


def test_tracers_are_refused():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(TypeError, match="cannot run inside jit"):
        jax.jit(lambda inst: improve(inst, "fcfs", num_steps=1, key=KEY).priority)(inst)


def test_chains_fill_a_device_by_the_memory_of_requests_not_of_steps(monkeypatch):
    """As many chains a call as fit the memory of an accelerator, and results as on a CPU."""
    n, num_chains, per_request = 24, 64, 64
    inst = random_instances(1, n)
    options = {"key": KEY, "num_steps": 300, "num_chains": num_chains, "progress": False}
    expected = improve(inst, "fcfs", **options)
    calls = []

    def recorded(function, *trees, **cut):
        def counted(devices, *chunk):
            calls.append(jax.tree.leaves(chunk)[0].shape[0])
            return function(devices, *chunk)

        return chunks.map_device_chunks(counted, *trees, **cut)

    module = sys.modules["jaxsched.search.improve"]
    monkeypatch.setattr(module, "map_device_chunks", recorded)
    monkeypatch.setattr(module, "is_cpu", lambda devices: False)
    monkeypatch.setattr(chunks, "is_cpu", lambda devices: False)
    for room, size in ((num_chains, num_chains), (num_chains // 2, num_chains // 2)):
        memory = per_request * n * room
        monkeypatch.setattr(chunks, "_accelerator_bytes", lambda device, memory=memory: memory)
        calls.clear()
        found = improve(inst, "fcfs", **options)
        assert_same(found, expected)
        assert calls == [size] * (2 * num_chains // size)  # rounds of 256 and of 44 steps


@pytest.fixture(scope="module")
def weighted():
    """Six backlogs, padded, with weights far apart."""
    rng = np.random.default_rng(4)
    parts = []
    for n in (6, 6, 5, 6, 4, 6):
        prompt, output = rng.integers(1, 9, (2, n))
        weight = rng.choice([1.0, 7.5, 60.0], n)
        parts.append(js.Instance.from_lengths(prompt, output, kv_capacity=20, weight=weight))
    return js.stack(parts)


def weighted_latency(inst, sched):
    return js.metrics.summary(inst, sched)["total_weighted_latency_rounds"]


def test_with_weights_it_finds_the_best_of_all_orders(weighted):
    n = 6
    orders = np.array(list(itertools.permutations(range(n))))
    every = jax.tree.map(lambda leaf: jnp.repeat(leaf, len(orders), axis=0), weighted)
    sched = js.simulate(every, np.tile(orders, (len(weighted), 1)))
    best = weighted_latency(every, sched).reshape(len(weighted), -1).min(axis=-1)
    better = improve(weighted, "fcfs", num_steps=300, num_chains=8, key=KEY)
    np.testing.assert_allclose(better.history[:, -1], best)
    np.testing.assert_allclose(weighted_latency(weighted, better.schedule), best)
    assert (better.history[:, 0] > best).any()
    plain = improve(weighted.replace(weight=None), "fcfs", num_steps=300, num_chains=8, key=KEY)
    assert (weighted_latency(weighted, plain.schedule) > best).any()


def test_a_weighted_search_goes_on(weighted):
    whole = improve(weighted, "fcfs", num_steps=300, num_chains=8, key=KEY)
    part = improve(weighted, "fcfs", num_steps=200, num_chains=8, key=KEY)
    again = improve(weighted, part, num_steps=100, key=KEY)
    np.testing.assert_array_equal(again.priority, whole.priority)
    np.testing.assert_array_equal(again.history[:, -1], whole.history[:, -1])
    with pytest.raises(ValueError, match="for another instance"):
        improve(weighted.replace(weight=None), part, num_steps=100, key=KEY)
    with pytest.raises(ValueError, match="for another instance"):
        improve(weighted.replace(weight=weighted.weight * 2), part, num_steps=100, key=KEY)


def test_weights_of_one_find_what_is_found_without(weighted):
    ones = weighted.replace(weight=jnp.ones_like(weighted.weight))
    options = {"num_steps": 300, "num_chains": 8, "key": KEY}
    found = improve(ones, "fcfs", **options)
    expected = improve(weighted.replace(weight=None), "fcfs", **options)
    np.testing.assert_array_equal(found.priority, expected.priority)
    np.testing.assert_array_equal(found.history, expected.history)
