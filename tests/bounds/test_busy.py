from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched import bounds
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from tests.reference import clock_and_metrics as reference

MAX_INT32 = 2**31 - 1


def in_fractions(prompt, output, capacity):
    """The claim, with every sum written out."""
    volumes, rest = [], Fraction(0)
    for s, o in zip(prompt, output, strict=True):
        held = [s + u for u in range(1, o + 1)]
        middle = [u - Fraction(1, 2) for u in range(1, o + 1)]
        volumes.append(sum(held))
        mean = sum(m * h for m, h in zip(middle, held, strict=True)) / volumes[-1]
        rest += o - mean  # from the mean busy time to the completion
    busy, before = Fraction(0), 0
    for v in sorted(volumes):
        busy += (before + Fraction(v, 2)) / capacity
        before += v
    return busy + rest


@pytest.mark.parametrize("leading", [(), (30,), (3, 10)])
def test_equals_the_claim_in_fractions(leading):
    rng = np.random.default_rng(0)
    capacity = 60
    output = rng.integers(1, capacity, (*leading, 9))
    prompt = rng.integers(1, capacity + 1 - output)
    real = rng.random((*leading, 9)) < 0.7
    inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
    inst = inst.replace(is_real=jnp.asarray(real))
    found = bounds.mean_busy(inst)
    assert found.shape == leading
    assert found.dtype == np.float64
    for where in np.ndindex(*leading):
        keep = real[where]
        expected = in_fractions(prompt[where][keep].tolist(), output[where][keep].tolist(), 60)
        assert expected * (1 - Fraction(2, 10**9)) <= Fraction(found[where]) <= expected


def test_never_above_the_optimum_of_tiny_instances():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(150):
        n = int(rng.integers(1, 5))
        output = rng.integers(1, 5 if n < 4 else 4, n)
        prompt = rng.integers(1, 7, n)
        capacity = int((prompt + output).max() + rng.integers(0, 8))
        inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
        best = reference.least_total_latency(prompt.tolist(), output.tolist(), capacity)
        ratios.append(float(bounds.mean_busy(inst)) / best)
    assert max(ratios) <= 1
    assert max(ratios) > 0.999  # a request of one token that fills the cache


def test_it_is_the_optimum_when_single_tokens_fill_the_cache():
    # Each request takes the whole cache for one round: mean busy times 1/2, 3/2, ...
    inst = Instance.from_lengths([7] * 5, [1] * 5, kv_capacity=8)
    assert bounds.mean_busy(inst) == pytest.approx(1 + 2 + 3 + 4 + 5, rel=2e-9)


def test_padding_and_the_order_of_requests_change_nothing():
    rng = np.random.default_rng(2)
    output = rng.integers(1, 20, 12)
    prompt = rng.integers(1, 20, 12)
    inst = Instance.from_lengths(prompt, output, kv_capacity=40)
    turned = Instance.from_lengths(prompt[::-1], output[::-1], kv_capacity=40)
    longer = Instance.from_lengths(np.ones(20, int), np.ones(20, int), kv_capacity=40)
    found = bounds.mean_busy(stack([inst, longer, turned]))
    np.testing.assert_allclose(found[[0, 2]], bounds.mean_busy(inst), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_volumes_beyond_what_float64_counts():
    prompt = [2**31 - 2**29 - 1, 2**30 + 7, 3]
    output = [2**29, 2**30 - 9, 1]
    volumes = sorted(s * o + o * (o + 1) // 2 for s, o in zip(prompt, output, strict=True))
    assert sum(volumes) > 2**53
    expected = Fraction(0)
    for j, v in enumerate(volumes):
        expected += (sum(volumes[:j]) + Fraction(v, 2)) / MAX_INT32
    for s, o in zip(prompt, output, strict=True):
        after = Fraction(s * o * (o - 1), 2) + Fraction(o * (o * o - 1), 6)
        expected += Fraction(1, 2) + after / (s * o + o * (o + 1) // 2)
    found = bounds.mean_busy(Instance.from_lengths(prompt, output, kv_capacity=MAX_INT32))
    assert expected * (1 - Fraction(2, 10**9)) <= Fraction(float(found)) <= expected
