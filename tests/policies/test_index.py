"""Index rules, and the exact order of volumes above all."""

import itertools

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given

from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import (
    fcfs,
    names,
    prioritize,
    shortest_output,
    shortest_prompt,
    smallest_volume,
    total_size,
)

MAX_INT32 = 2**31 - 1
NUM_REQUESTS = 8  # one shape, so that one program serves all examples


def volume(prompt: int, output: int) -> int:
    return prompt * output + output * (output + 1) // 2


def instance(pairs, kv_capacity=MAX_INT32):
    prompt, output = zip(*pairs, strict=True)
    return Instance.from_lengths(prompt, output, kv_capacity=kv_capacity)


def assert_exact(pairs, priority):
    """The priorities order the pairs as Python's unbounded integers do, ties included."""
    volumes = [volume(*pair) for pair in pairs]
    values = np.asarray(priority).tolist()
    for (v, p), (w, q) in itertools.product(zip(volumes, values, strict=True), repeat=2):
        assert (v < w) == (p < q), f"volumes {v} and {w} have priorities {p} and {q}"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (fcfs, [0, 1, 2, 3]),
        (shortest_output, [2, 4, 1, 3]),
        (shortest_prompt, [3, 1, 9, 1]),
        (total_size, [5, 5, 10, 4]),
        (smallest_volume, [3 * 2 + 3, 1 * 4 + 10, 9 + 1, 1 * 3 + 6]),
    ],
)
def test_priorities_of_a_small_instance(rule, expected, x64):
    priority = prioritize(instance([(3, 2), (1, 4), (9, 1), (1, 3)]), rule)
    assert priority.tolist() == expected
    assert priority.dtype == np.int32


@pytest.mark.parametrize("name", ["fcfs", "mc_sf", "shortest_prompt", "total_size", "svf"])
def test_rules_of_the_table_are_registered(name):
    priority = prioritize(instance([(3, 2), (1, 4)]), name)
    assert priority.shape == (2,)


def test_no_alias_is_listed_among_the_names():
    assert {"shortest_output", "smallest_volume"} <= set(names())
    assert {"mc_sf", "svf"}.isdisjoint(names())


def test_total_size_fits_int32_at_the_largest_capacity():
    priority = total_size(instance([(MAX_INT32 - 1, 1), (1, 2**30)]))
    assert priority.tolist() == [MAX_INT32, 2**30 + 1]


def test_half_a_million_tokens_each_way(x64):
    # Two prompt tokens more and one output token less hardly change the volume.
    near = [(500_000 + 2 * k, 500_000 - k) for k in range(-5, 6)]
    pairs = [*near, (500_001, 500_000), (500_000, 500_001), near[3], (1, 1)]
    assert len({volume(*pair) for pair in near}) > 5
    assert len({np.float32(volume(*pair)) for pair in near}) == 1
    assert_exact(pairs, prioritize(instance(pairs, kv_capacity=1_500_000), smallest_volume))


def test_neighbours_that_tie_in_float32_need_no_ranks(x64):
    pairs = [(40_000_003, 1), (40_000_001, 1), (40_000_002, 1), (20_000_000, 2)]
    assert len({np.float32(volume(*pair)) for pair in pairs[:3]}) < 3
    priority = prioritize(instance(pairs), smallest_volume)
    assert priority.tolist() == [volume(*pair) for pair in pairs]


def test_the_largest_volumes_of_all(x64):
    pairs = [(4, 2**31 - 10), (3, 2), (MAX_INT32 - 1, 1), (1, 1), (2, 1), (1, 1)]
    assert volume(*pairs[0]) > 2**60
    priority = prioritize(instance(pairs), smallest_volume)
    assert priority.tolist() == [4, 2, 3, 0, 1, 0]


def test_volumes_on_both_sides_of_int32(x64):
    # 2^31 - 1 = 1 * s + 1 has no rank taken; one token more needs ranks.
    fits = [(MAX_INT32 - 1, 1), (5, 1), (1, 1)]
    assert prioritize(instance(fits), smallest_volume).tolist() == [MAX_INT32, 6, 2]
    over = [(2**30 - 1, 2), (5, 1), (1, 1)]
    assert volume(*over[0]) == 2**31 + 1
    assert prioritize(instance(over), smallest_volume).tolist() == [2, 1, 0]


def test_one_instance_with_huge_volumes_leaves_the_others_alone():
    small = instance([(3, 2), (1, 4), (9, 1)])
    huge = instance([(500_000, 500_000), (500_001, 499_999), (1, 1)])
    together = prioritize(stack([small, huge]), smallest_volume)
    assert together[0].tolist() == prioritize(small, smallest_volume).tolist()
    assert together[1].tolist() == prioritize(huge, smallest_volume).tolist()


lengths = st.one_of(
    st.integers(1, 6),
    st.integers(499_990, 500_010),
    st.integers(1, 2**27),
    st.sampled_from([1, 2**15, 2**16 - 1, 2**16, 2**16 + 1, 2**27]),
)


@pytest.mark.slow
@given(st.lists(st.tuples(lengths, lengths), min_size=NUM_REQUESTS, max_size=NUM_REQUESTS))
def test_any_volumes_are_ordered_as_python_integers_are(pairs):
    assert_exact(pairs, prioritize(instance(pairs), smallest_volume))


def test_index_rules_run_inside_jit_and_vmap():
    inst = stack([instance([(3, 2), (1, 4)]), instance([(2, 2), (500_000, 500_000)])])
    for rule in (fcfs, shortest_output, shortest_prompt, total_size, smallest_volume):
        mapped = jax.jit(jax.vmap(rule))(inst)
        assert mapped.tolist() == prioritize(inst, rule).tolist()
