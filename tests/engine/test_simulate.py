"""The simulator against the round-by-round oracle, section 7's table, and itself."""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxsched as js
from jaxsched.engine.offline import one_kernel as _one_kernel
from tests.reference.earliest_fit import earliest_fit
from tests.reference.strict_order import strict_order

ORACLES = {"strict": strict_order, "earliest_fit": earliest_fit}

MAX_REQUESTS, BATCH = 8, 16


@st.composite
def backlogs(draw):
    """Lengths, capacity and priorities of one small instance, extremes and ties included."""
    capacity = draw(st.integers(2, 24))
    n = draw(st.integers(1, MAX_REQUESTS))
    prompt = draw(st.lists(st.integers(1, capacity - 1), min_size=n, max_size=n))
    output = [
        capacity - s if draw(st.booleans()) and draw(st.booleans()) else o
        for s, o in zip(prompt, [draw(st.integers(1, capacity - s)) for s in prompt], strict=True)
    ]
    priority = draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n))
    return prompt, output, capacity, priority


def stacked(cases, n=MAX_REQUESTS):
    """The cases as one padded instance, and priorities that try to let padding go first."""
    filler = js.Instance.from_lengths([1] * n, [1] * n, kv_capacity=2)  # fixes the shape
    instances = [js.Instance.from_lengths(s, o, kv_capacity=m) for s, o, m, _ in cases]
    priority = np.full((len(cases) + 1, n), -100)
    for row, (*_, values) in enumerate(cases):
        priority[row, : len(values)] = values
    return js.stack([*instances, filler]), priority


def order_of(priority):
    return sorted(range(len(priority)), key=lambda i: (priority[i], i))


@pytest.mark.parametrize("discipline", ORACLES)
@pytest.mark.parametrize(
    ("admission", "max_num_seqs"),
    [
        ("look_ahead", None),
        ("peak", 3),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in itertools.product(["look_ahead", "peak"], [None, 1, 3])
            if each not in (("look_ahead", None), ("peak", 3))
        ),
    ],
)
@settings(max_examples=25)
@given(cases=st.lists(backlogs(), min_size=BATCH, max_size=BATCH))
def test_starts_equal_the_round_by_round_oracle(discipline, admission, max_num_seqs, cases):
    inst, priority = stacked(cases)
    options = {"discipline": discipline, "admission": admission, "max_num_seqs": max_num_seqs}
    sched = js.simulate(inst, priority, **options)
    for row, (prompt, output, capacity, values) in enumerate(cases):
        order = order_of(values)
        expected = ORACLES[discipline](prompt, output, capacity, order, admission, max_num_seqs)
        n = len(values)
        assert sched.start[row, :n].tolist() == expected
        assert sched.start[row, n:].tolist() == [-1] * (MAX_REQUESTS - n)
        assert sched.completion[row, :n].tolist() == [
            p + o for p, o in zip(expected, output, strict=True)
        ]


@pytest.mark.slow
@pytest.mark.parametrize("discipline", ORACLES)
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
@pytest.mark.parametrize("max_num_seqs", [None, 5])
def test_starts_equal_the_oracle_with_many_slots(discipline, admission, max_num_seqs):
    rng = np.random.default_rng(1)
    capacity, n = 120, 40
    prompt = rng.integers(1, 12, (24, n))
    output = np.where(rng.random((24, n)) < 0.2, capacity - prompt, rng.integers(1, 15, (24, n)))
    priority = rng.integers(0, 9, (24, n))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
    options = {"discipline": discipline, "admission": admission, "max_num_seqs": max_num_seqs}
    sched = js.simulate(inst, priority, **options)
    for row in range(24):
        arguments = prompt[row].tolist(), output[row].tolist(), capacity
        order = order_of(priority[row])
        expected = ORACLES[discipline](*arguments, order, admission, max_num_seqs)
        assert sched.start[row].tolist() == expected


SECTION_7 = [
    pytest.param(
        "shortest_output",
        (16, 36, 64, 100, 144, 196),
        (142, 381, 808, 1459, 2382, 3637),
        marks=pytest.mark.slow,
    ),
    ("fcfs", (16, 36, 64, 100, 144, 196), (98, 291, 644, 1205, 2022, 3143)),
    ("total_size", (64, 128, 256, 512), (989, 1948, 5543, 14035)),
]
ALTERNATIVES = {
    "shortest_output": (110, 201, 360, 539, 726, 1005),
    "fcfs": (42, 87, 148, 225, 318, 427),
    "total_size": (447, 763, 1639, 3091),
}


@pytest.mark.parametrize(("rule", "capacities", "values"), SECTION_7)
def test_worst_cases_have_the_published_total_latency(rule, capacities, values):
    for capacity, value, alternative in zip(capacities, values, ALTERNATIVES[rule], strict=True):
        inst = js.workloads.worst_case(rule, capacity)

        def total(priority, inst=inst):
            return int(js.simulate(inst, priority).completion.sum())

        # The instance lists one class of equal requests first, the other behind it.
        lengths = np.stack([inst.prompt_tokens, inst.output_tokens])
        is_second = np.any(lengths != lengths[:, :1], axis=0)
        assert total(js.prioritize(inst, rule)) == value
        assert min(total(is_second * 1), total(is_second * -1)) == alternative
        assert total(js.prioritize(inst, "smallest_volume")) == alternative


def test_three_partition_reaches_its_optimum_in_some_order():
    num_triples, capacity = 3, 60
    inst = js.workloads.three_partition(jax.random.key(2), num_triples, capacity)
    size = np.asarray(inst.prompt_tokens) + 1
    orders = (
        order
        for order in itertools.permutations(range(9))
        if all(size[list(order[k : k + 3])].sum() == capacity for k in (0, 3, 6))
    )
    rank = np.argsort(next(orders))
    assert int(js.simulate(inst, rank).completion.sum()) == 3 * num_triples * (num_triples + 1) / 2


@pytest.fixture(scope="module")
def realistic():
    """Three backlogs of 2,000 requests, with capacities from one long request to 1.5 million."""
    rng = np.random.default_rng(3)
    shape = (3, 2000)
    scale = np.array([[1], [2], [8]])
    prompt = np.ceil(scale * np.exp(rng.normal(5, 1.5, shape))).astype(int).clip(1, 12_000)
    output = np.ceil(scale * np.exp(rng.normal(5, 1.2, shape))).astype(int).clip(1, 4_000)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=[16_492, 131_072, 1_500_000])
    return inst, js.prioritize(inst, "smallest_volume")


def test_earliest_fit_on_realistic_sizes(realistic):
    inst, priority = realistic
    sched = js.simulate(inst, priority, discipline="earliest_fit")
    assert js.verify(inst, sched).is_feasible.all()
    in_order = js.simulate(inst, priority).completion
    assert (np.sum(sched.completion, axis=-1) < np.sum(in_order, axis=-1)).all()


@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
def test_invariants_on_realistic_sizes(realistic, admission):
    inst, priority = realistic
    sched = js.simulate(inst, priority, admission=admission)
    assert js.verify(inst, sched).is_feasible.all()
    np.testing.assert_array_equal(sched.completion, sched.start + inst.output_tokens)
    order = np.argsort(priority, axis=-1, kind="stable")
    assert (np.diff(np.take_along_axis(np.asarray(sched.start), order, -1)) >= 0).all()
    assert (np.asarray(sched.start).min(axis=-1) == 0).all()


@pytest.mark.slow
def test_the_first_blocked_request_could_not_have_started_a_round_earlier(realistic):
    inst, priority = realistic
    sched = js.simulate(inst, priority)
    start = np.array(sched.start)
    order = np.argsort(priority, axis=-1, kind="stable")
    rng = np.random.default_rng(4)
    for row in range(3):
        in_order = start[row, order[row]]
        blocked = np.flatnonzero(np.diff(in_order) > 0) + 1
        for position in rng.choice(blocked, 5, replace=False):
            kept = order[row, : position + 1]
            sub = js.Instance.from_lengths(
                inst.prompt_tokens[row, kept],
                inst.output_tokens[row, kept],
                kv_capacity=inst.kv_capacity[row],
            )
            earlier = start[row, kept]
            assert js.verify(sub, js.Schedule.from_starts(sub, earlier)).is_feasible
            earlier[-1] -= 1
            assert not js.verify(sub, js.Schedule.from_starts(sub, earlier)).is_feasible


@pytest.fixture(scope="module")
def many():
    """Seventy instances of 90 requests whose active counts differ widely, padding included."""
    rng = np.random.default_rng(5)
    instances = []
    for row in range(70):
        n, capacity = (90, 60, 75)[row % 3], (40, 400, 4000)[row % 3]
        prompt = rng.integers(1, 20, n)
        output = rng.integers(1, 20, n)
        instances.append(js.Instance.from_lengths(prompt, output, kv_capacity=capacity))
    return js.stack(instances), rng.random((70, 90)).astype(np.float32)


def one_by_one(inst, priority, **options):
    rows = range(len(priority))
    parts = [
        js.simulate(jax.tree.map(lambda leaf, row=row: leaf[row], inst), priority[row], **options)
        for row in rows
    ]
    return np.stack([part.start for part in parts])


def test_results_do_not_depend_on_batch_order_or_padding(many):
    inst, priority = many
    expected = one_by_one(inst, priority)
    np.testing.assert_array_equal(js.simulate(inst, priority).start, expected)

    shuffled = np.random.default_rng(6).permutation(70)
    mixed_up = jax.tree.map(lambda leaf: leaf[shuffled], inst)
    np.testing.assert_array_equal(
        js.simulate(mixed_up, priority[shuffled]).start, expected[shuffled]
    )

    wider = js.stack(
        [
            inst,
            jax.tree.map(lambda leaf: jnp.concatenate([leaf] * 2, -1), inst).replace(
                kv_capacity=inst.kv_capacity
            ),
        ]
    )
    padded = np.concatenate([priority, np.zeros_like(priority)], axis=-1)
    result = js.simulate(wider, np.stack([padded, padded]))
    np.testing.assert_array_equal(result.start[0, :, :90], expected)


def test_leading_axes_are_kept(many):
    inst, priority = many
    folded = jax.tree.map(lambda leaf: leaf.reshape(7, 10, *leaf.shape[1:]), inst)
    sched = js.simulate(folded, priority.reshape(7, 10, 90))
    assert sched.start.shape == (7, 10, 90)
    assert sched.status.shape == (7, 10)
    np.testing.assert_array_equal(sched.start.reshape(70, 90), js.simulate(inst, priority).start)


@pytest.mark.parametrize(
    ("discipline", "max_num_seqs"),
    [
        ("strict", 4),
        pytest.param("strict", None, marks=pytest.mark.slow),
        pytest.param("earliest_fit", 4, marks=pytest.mark.slow),
        pytest.param("earliest_fit", None, marks=pytest.mark.slow),
    ],
)
def test_one_call_an_operation_gives_the_same(many, monkeypatch, discipline, max_num_seqs):
    inst, priority = (jax.tree.map(lambda leaf: leaf[:69], tree) for tree in many)
    options = {"discipline": discipline, "max_num_seqs": max_num_seqs}
    expected = js.simulate(inst, priority, **options).start
    monkeypatch.setattr(_one_kernel, "is_available", False)
    _one_kernel.warn_if_untested.cache_clear()
    jax.clear_caches()
    with pytest.warns(UserWarning, match=r"was not tested with jaxsched .*XLA_FLAGS=--xla_backend"):
        found = js.simulate(inst, priority, **options).start
    with warnings.catch_warnings():  # it is said once
        warnings.simplefilter("error")
        js.simulate(jax.tree.map(lambda leaf: leaf[:3], inst), priority[:3], **options)
    _one_kernel.warn_if_untested.cache_clear()
    jax.clear_caches()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.usefixtures("x64")
def test_jit_vmap_and_scan_agree_with_concrete_arrays(many):
    inst, priority = many
    priority = jnp.asarray(priority)
    cap = jnp.arange(70, dtype=jnp.int32) % 5 + 2
    expected = js.simulate(inst, priority, max_num_seqs=cap).start

    def one(inst, priority, cap):
        return js.simulate(inst, priority, max_num_seqs=cap).start

    np.testing.assert_array_equal(jax.jit(one)(inst, priority, cap), expected)
    np.testing.assert_array_equal(jax.vmap(one)(inst, priority, cap), expected)
    nested = jax.tree.map(lambda leaf: leaf.reshape(7, 10, *leaf.shape[1:]), (inst, priority, cap))
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(jax.vmap(one)))(*nested).reshape(70, 90), expected
    )
    _, scanned = jax.lax.scan(lambda _, case: (None, one(*case)), None, (inst, priority, cap))
    np.testing.assert_array_equal(scanned, expected)


def test_vmap_over_priorities_alone(many):
    inst, priority = (jax.tree.map(lambda leaf: leaf[0], tree) for tree in many)
    candidates = jnp.stack([jnp.asarray(priority), -jnp.asarray(priority)])
    mapped = jax.jit(jax.vmap(lambda priority: js.simulate(inst, priority).start))(candidates)
    for found, candidate in zip(mapped, candidates, strict=True):
        np.testing.assert_array_equal(found, js.simulate(inst, candidate).start)


def test_constants_inside_jit(many):
    inst, priority = (jax.tree.map(lambda leaf: jnp.asarray(leaf[:3]), tree) for tree in many)
    expected = js.simulate(inst, priority).start
    np.testing.assert_array_equal(jax.jit(lambda: js.simulate(inst, priority).start)(), expected)
    found = jax.jit(lambda: js.simulate(inst, js.prioritize(inst, "fcfs")).start)()
    np.testing.assert_array_equal(found, js.simulate(inst, js.prioritize(inst, "fcfs")).start)


def test_nothing_compiles_for_other_numbers(compiled):
    def instances(scale, capacity, seed):
        rng = np.random.default_rng(seed)
        prompt, output = rng.integers(1, scale, (2, 40, 33))
        return js.Instance.from_lengths(prompt, output, kv_capacity=capacity), rng.random((40, 33))

    jitted = jax.jit(lambda inst, priority: js.simulate(inst, priority).start)
    inst, priority = instances(5, 50, seed=0)
    with compiled() as events:
        js.simulate(inst, priority), jitted(inst, jnp.asarray(priority))
    assert events
    for seed, (scale, capacity) in enumerate([(2, 3), (100, 250), (5, 10**6), (1000, 2100)]):
        inst, priority = instances(scale, capacity, seed)
        on_device = jnp.asarray(priority)
        with compiled() as events:
            js.simulate(inst, priority), jitted(inst, on_device)
            js.simulate(inst, -priority), jitted(inst, on_device)
            js.simulate(inst, priority, max_num_seqs=None)
        assert not events
