"""Geometric batching: classes of output length, volume within them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from jaxsched.policies import prioritize
from jaxsched.policies.batches.geometric import geometric
from jaxsched.policies.testing import check_policy

lengths = st.one_of(
    st.integers(1, 9),
    st.integers(1, 2**27),
    st.sampled_from([2**k + d for k in range(2, 27) for d in (-1, 0, 1)]),
)


def place_in_order(pair):
    prompt, output = pair
    doubling = 0
    while 2**doubling < output:
        doubling += 1
    return doubling, 2 * prompt * output + output * (output + 1)


@pytest.mark.slow
@given(st.lists(st.tuples(lengths, lengths), min_size=8, max_size=8))
def test_order_is_by_class_then_exact_volume_then_index(pairs):
    prompt, output = zip(*pairs, strict=True)
    inst = Instance.from_lengths(prompt, output, kv_capacity=2**31 - 1)
    expected = sorted(range(8), key=lambda i: place_in_order(pairs[i]))
    assert np.argsort(prioritize(inst, geometric)).tolist() == expected


@pytest.mark.parametrize("power", [1, 2, 5, 20])
def test_a_power_of_two_ends_its_class(power, x64):
    # Tiny prompts in the class above, so that volume alone would take them first.
    inst = Instance.from_lengths([2**22, 1], [2**power, 2**power + 1], kv_capacity=2**23)
    assert prioritize(inst, geometric).tolist() == [0, 1]
    below = Instance.from_lengths([2**22, 1], [2**power - 1, 2**power], kv_capacity=2**23)
    assert prioritize(below, geometric).tolist() == ([0, 1] if power == 1 else [1, 0])


def test_keeps_the_contract_of_a_rule(x64):
    check_policy(geometric)


def test_padding_leaves_the_order_alone():
    short = Instance.from_lengths([9, 1, 1], [1, 4, 3], kv_capacity=20)
    longer = Instance.from_lengths([9, 1, 1, 5], [1, 4, 3, 2], kv_capacity=20)
    position = np.asarray(prioritize(stack([short, longer]), geometric))
    assert np.argsort(position[0, :3]).tolist() == [0, 2, 1]
    assert position[1].tolist() == [0, 3, 2, 1]
