"""Worst cases have the contents stated for them; plants can be solved."""

import jax
import numpy as np
import pytest

from jaxsched.workloads import three_partition, worst_case

SQUARE_ROOTS = {16: 4, 36: 6, 64: 8, 100: 10, 144: 12, 196: 14}


def pairs(inst):
    return list(zip(inst.prompt_tokens.tolist(), inst.output_tokens.tolist(), strict=True))


@pytest.mark.parametrize(("capacity", "root"), SQUARE_ROOTS.items())
@pytest.mark.parametrize("rule", ["shortest_output", "mc_sf"])
def test_worst_case_of_shortest_output(rule, capacity, root, x64):
    inst = worst_case(rule, capacity)
    assert pairs(inst) == root * [(capacity - 1, 1)] + root * root * [(1, 2)]
    assert int(inst.kv_capacity) == capacity


@pytest.mark.parametrize(("capacity", "root"), SQUARE_ROOTS.items())
def test_worst_case_of_fcfs(capacity, root):
    inst = worst_case("fcfs", capacity)
    assert pairs(inst) == root * [(capacity - 1, 1)] + root * root * [(1, 1)]
    assert int(inst.kv_capacity) == capacity


@pytest.mark.parametrize(("capacity", "short"), [(64, 32), (128, 40), (256, 64), (512, 88)])
def test_worst_case_of_total_size(capacity, short):
    inst = worst_case("total_size", capacity)
    quarter = capacity // 4
    assert pairs(inst) == 8 * [(1, quarter - 1)] + short * [(quarter, 1)]
    assert int(inst.kv_capacity) == capacity


def test_worst_case_rounds_roots_and_quarters_down():
    assert worst_case("fcfs", 24).num_requests == 4 + 16
    assert pairs(worst_case("total_size", 11))[0] == (1, 1)


@pytest.mark.parametrize(
    ("rule", "least"), [("fcfs", 2), ("shortest_output", 3), ("total_size", 8)]
)
def test_worst_case_names_the_least_capacity(rule, least):
    assert int(worst_case(rule, least).kv_capacity) == least
    with pytest.raises(
        ValueError, match=f"capacity is {least - 1}; .* {rule} needs at least {least}"
    ):
        worst_case(rule, least - 1)


def test_worst_case_answers_an_unknown_rule_with_the_nearest():
    with pytest.raises(ValueError, match="'shortest_outputs'; did you mean 'shortest_output'"):
        worst_case("shortest_outputs", 64)
    with pytest.raises(ValueError, match="known: fcfs, mc_sf, shortest_output, total_size"):
        worst_case("zzz", 64)


def can_be_partitioned(sizes, capacity):
    """Whether the sizes fall into triples that each sum to the capacity, by search."""
    if not sizes:
        return True
    first, *rest = sizes
    for i in range(len(rest)):
        for j in range(i + 1, len(rest)):
            if first + rest[i] + rest[j] == capacity:
                others = rest[:i] + rest[i + 1 : j] + rest[j + 1 :]
                if can_be_partitioned(others, capacity):
                    return True
    return False


@pytest.mark.parametrize("capacity", [6, 7, *range(9, 40), 16492, 2**31 - 1])
def test_three_partition_has_its_plant(capacity):
    inst = three_partition(jax.random.key(capacity), 4, capacity)
    size = np.asarray(inst.prompt_tokens, np.int64) + 1
    assert np.all(inst.output_tokens == 1)
    assert np.all(inst.prompt_tokens >= 1)
    assert np.all((4 * size > capacity) & (2 * size < capacity))
    assert can_be_partitioned(size.tolist(), capacity)
    assert int(inst.kv_capacity) == capacity


def test_three_partition_varies_and_shuffles(x64):
    draws = [
        three_partition(jax.random.key(seed), 50, 1000).prompt_tokens.tolist() for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) > 50
    rows = np.array(draws[0]).reshape(3, 50) + 1
    assert not np.any(rows.sum(axis=0) == 1000)  # the triples are not left side by side


def test_three_partition_is_not_traced_again_for_another_key_or_capacity():
    three_partition(jax.random.key(0), 5, 100)
    with jax.no_tracing(True):
        three_partition(jax.random.key(1), 5, 200)


@pytest.mark.parametrize("capacity", [1, 5, 8])
def test_three_partition_needs_a_capacity_that_three_integers_reach(capacity):
    with pytest.raises(ValueError, match=f"capacity is {capacity}; .*expected 6, 7, or 9"):
        three_partition(jax.random.key(0), 4, capacity)


def test_three_partition_needs_a_triple():
    with pytest.raises(ValueError, match="num_triples is 0; expected an integer from 1"):
        three_partition(jax.random.key(0), 0, 100)
