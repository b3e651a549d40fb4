import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched import bounds
from jaxsched.model.instance import Instance
from jaxsched.model.stack import stack
from tests.reference import clock_and_metrics as reference

MAX_INT32 = 2**31 - 1


def random_lengths(rng, shape, capacity):
    output = rng.integers(1, capacity, shape)
    return rng.integers(1, capacity + 1 - output), output


def test_never_above_the_optimum_of_tiny_instances():
    rng = np.random.default_rng(0)
    gaps = []
    for _ in range(150):
        n = int(rng.integers(1, 5))
        output = rng.integers(1, 5 if n < 4 else 4, n)
        prompt = rng.integers(1, 7, n)
        capacity = int((prompt + output).max() + rng.integers(0, 8))
        inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
        best = reference.least_total_latency(prompt.tolist(), output.tolist(), capacity)
        gaps.append(best - bounds.volume(inst))
    assert min(gaps) == 0  # and it is attained
    assert max(gaps) > 0


@pytest.mark.parametrize("leading", [(), (40,), (4, 10)])
def test_equals_the_formula_in_fractions(leading):
    rng = np.random.default_rng(1)
    capacity = 60
    prompt, output = random_lengths(rng, (*leading, 9), capacity)
    real = rng.random((*leading, 9)) < 0.7
    inst = Instance.from_lengths(prompt, output, kv_capacity=capacity)
    inst = inst.replace(is_real=jnp.asarray(real))
    found = bounds.volume(inst)
    assert found.shape == leading
    assert found.dtype == np.float64
    for where in np.ndindex(*leading):
        keep = real[where]
        expected = reference.volume_bound(
            prompt[where][keep].tolist(), output[where][keep].tolist(), capacity
        )
        assert found[where] == expected


def test_rounding_up_is_counted():
    # 2 + 2 tokens fit in round 1; the third needs round 2, not 6 / 5 of a round.
    inst = Instance.from_lengths([1, 1, 1], [1, 1, 1], kv_capacity=5)
    assert bounds.volume(inst) == 1 + 1 + 2


@pytest.mark.parametrize(
    ("first", "then", "attained"),
    [
        # total latency of the order that runs the other class first, r = floor(sqrt M)
        (lambda M, r: (r, (M - 1, 1)), lambda M, r: (r * r, (1, 2)), [110, 201, 360, 539]),
        (lambda M, r: (r, (M - 1, 1)), lambda M, r: (r * r, (1, 1)), [42, 87, 148, 225]),
    ],
)
def test_at_most_what_is_attained_in_the_worst_cases_of_other_rules(first, then, attained):
    for M, total_latency in zip([16, 36, 64, 100], attained, strict=True):
        r = int(M**0.5)
        lengths = [pair for count, pair in (first(M, r), then(M, r)) for _ in range(count)]
        prompt, output = np.transpose(lengths)
        inst = Instance.from_lengths(prompt, output, kv_capacity=M)
        assert 0.5 * total_latency < bounds.volume(inst) <= total_latency


def test_a_planted_three_partition_is_nearly_met():
    # Triples of 100 = 33 + 33 + 34, one token each: the optimum runs one triple a round.
    sizes = np.tile([33, 33, 34], 10)
    inst = Instance.from_lengths(sizes - 1, np.ones(30, int), kv_capacity=100)
    optimum = 3 * 10 * 11 / 2
    assert 0.99 * optimum <= bounds.volume(inst) <= optimum


def test_falls_with_capacity_down_to_the_outputs_and_grows_with_requests():
    rng = np.random.default_rng(2)
    prompt, output = random_lengths(rng, 50, 100)
    found = [
        bounds.volume(Instance.from_lengths(prompt, output, kv_capacity=capacity))
        for capacity in (100, 150, 400, 10**6)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] == output.sum()
    fewer = Instance.from_lengths(prompt[1:], output[1:], kv_capacity=100)
    assert bounds.volume(fewer) < found[0]


def test_padding_and_the_order_of_requests_change_nothing():
    rng = np.random.default_rng(3)
    prompt, output = random_lengths(rng, 12, 40)
    inst = Instance.from_lengths(prompt, output, kv_capacity=40)
    turned = Instance.from_lengths(prompt[::-1], output[::-1], kv_capacity=40)
    longer = Instance.from_lengths(np.ones(20, int), np.ones(20, int), kv_capacity=40)
    found = bounds.volume(stack([inst, longer, turned]))
    assert found[0] == found[2] == bounds.volume(inst)
    assert found[1] == bounds.volume(longer)


@pytest.mark.usefixtures("x64")
def test_volumes_beyond_what_float64_counts():
    prompt = [2**31 - 2**29 - 1, 2**30 + 7, 2**29 + 1, 3]
    output = [2**29, 2**30 - 9, 2**28 + 3, 2**27 - 1]
    found = bounds.volume(Instance.from_lengths(prompt, output, kv_capacity=MAX_INT32))
    assert found == reference_volume_bound_of_large(prompt, output, MAX_INT32)


def reference_volume_bound_of_large(prompt, output, capacity):
    """The formula in Python's integers, volumes in closed form."""
    volumes = sorted(s * o + o * (o + 1) // 2 for s, o in zip(prompt, output, strict=True))
    assert sum(volumes) > 2**53
    return sum(
        max(-(-sum(volumes[: j + 1]) // capacity), shortest)
        for j, shortest in enumerate(sorted(output))
    )
