"""What the simulator makes of odd numbers: NaN, every dtype, extremes, wrong arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js


def test_gradients_pass_through_as_zero():
    inst = js.Instance.from_lengths([3, 1, 2], [2, 4, 3], kv_capacity=7)

    def mean_latency(priority):
        return js.simulate(inst, priority).completion.astype(jnp.float32).mean()

    np.testing.assert_array_equal(jax.grad(mean_latency)(jnp.array([1.0, 2.0, 3.0])), 0)


def test_nan_is_a_status_not_an_order():
    inst = js.stack(
        [
            js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8),
            js.Instance.from_lengths([3], [2], kv_capacity=8),
        ]
    )
    priority = np.array([[np.nan, 1.0], [1.0, np.nan]])  # on padding it is ignored
    for sched in (
        js.simulate(inst, priority),
        jax.jit(js.simulate)(inst, jnp.asarray(priority, jnp.float32)),
    ):
        assert sched.status.tolist() == [js.Status.NAN_PRIORITY, js.Status.OK]
        assert sched.start.tolist() == [[-1, -1], [0, -1]]
        with pytest.raises(ValueError, match="instance 0: the rule gave a real request"):
            js.metrics.summary(inst, sched)


DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float16, np.float32]


@pytest.mark.parametrize("dtype", [*DTYPES, jnp.bfloat16, np.int64, np.uint64, np.float64])
def test_priorities_are_compared_in_their_own_dtype(dtype):
    if jnp.issubdtype(dtype, jnp.integer):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        priority = np.array([high, low, high - 1, low + 1, 0, 1, 0, high], dtype)
    else:
        step = float(jnp.finfo(dtype).eps)
        values = [np.inf, -np.inf, 1 + step, 1, -0.0, 0.0, -step, float(jnp.finfo(dtype).max)]
        priority = np.array(values).astype(dtype)
    n = len(priority)
    inst = js.Instance.from_lengths([1] * n, [1] * n, kv_capacity=2)  # one at a time
    order = sorted(range(n), key=lambda i: (priority[i].item(), i))
    expected = np.argsort(order).tolist()
    assert js.simulate(inst, priority).start.tolist() == expected
    if np.dtype(dtype).itemsize <= 4:
        assert jax.jit(js.simulate)(inst, jnp.asarray(priority)).start.tolist() == expected


@pytest.mark.parametrize(
    "dtype",
    [
        np.float32,
        np.float64,
        pytest.param(np.float16, marks=pytest.mark.slow),
        pytest.param(jnp.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_the_smallest_numbers_are_in_one_order_everywhere(dtype):
    """Subnormal numbers, which some instructions take for zero."""
    smallest = float(jnp.finfo(dtype).smallest_subnormal)
    values = np.array([3, 0, -2, 1, -1, -0.0, 2, -3]) * smallest
    priority = values.astype(dtype)
    inst = js.Instance.from_lengths([1] * 8, [1] * 8, kv_capacity=2)  # one at a time
    expected = [7, 3, 1, 5, 2, 4, 6, 0]
    assert js.simulate(inst, priority).start.tolist() == expected
    with jax.enable_x64(np.dtype(dtype).itemsize == 8):
        given = jnp.asarray(priority)
        assert jax.jit(js.simulate)(inst, given).start.tolist() == expected
        both = jax.vmap(js.simulate, (None, 0))(inst, given[None])
        assert both.start[0].tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_caps_of_any_whole_dtype(dtype):
    inst = js.Instance.from_lengths([[1] * 4] * 2, [[2] * 4] * 2, kv_capacity=100)
    priority = [[0, 1, 2, 3]] * 2
    expected = [[0, 2, 4, 6], [0, 0, 0, 2]]
    caps = np.array([1, 3], dtype)
    assert js.simulate(inst, priority, max_num_seqs=caps).start.tolist() == expected
    largest = np.iinfo(dtype).max  # which is none at all
    found = js.simulate(inst, priority, max_num_seqs=np.array([1, largest], dtype))
    assert found.start.tolist() == [expected[0], [0, 0, 0, 0]]
    if np.dtype(dtype).itemsize < 8:
        found = jax.jit(lambda cap: js.simulate(inst, np.array(priority), max_num_seqs=cap))(caps)
        assert found.start.tolist() == expected


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_64_bit_priorities_keep_their_order_inside_jit(dtype):
    inst = js.Instance.from_lengths([1] * 3, [1] * 3, kv_capacity=2)
    with jax.enable_x64(True):
        priority = jnp.array([2**53, 2**53 - 1, 2**53 - 2], dtype)
        assert jax.jit(js.simulate)(inst, priority).start.tolist() == [2, 1, 0]
        assert js.simulate(inst, priority).start.tolist() == [2, 1, 0]


@pytest.mark.slow
def test_more_requests_than_sixteen_bits_number():
    n = 70_000
    inst = js.Instance.from_lengths([1] * n, [1] * n, kv_capacity=2)
    priority = np.random.default_rng(7).permutation(n).astype(np.float32)
    np.testing.assert_array_equal(js.simulate(inst, priority).start, priority)
    np.testing.assert_array_equal(jax.jit(js.simulate)(inst, jnp.asarray(priority)).start, priority)


@pytest.mark.usefixtures("x64")
def test_largest_numbers_do_not_overflow():
    most = 2**31 - 1
    half = 2**29
    # Both hold s + e at the first one's end e: the second starts at 2 s + 2 e - M = 1.
    pair = js.Instance.from_lengths([half, half], [half, half], kv_capacity=most)
    assert js.simulate(pair, [0, 1]).start.tolist() == [0, 1]
    # Side by side they never fit, so the second waits for the end of the first.
    apart = js.Instance.from_lengths([2**30, 2**30], [half, half], kv_capacity=most)
    assert js.simulate(apart, [0, 1]).start.tolist() == [0, half]
    # Requests one after another up to the last round that int32 can count.
    longest = js.Instance.from_lengths([most - 10, 1, 1], [10, most - 12, 1], kv_capacity=most)
    sched = js.simulate(longest, [0, 1, 2])
    assert sched.completion.tolist() == [10, most - 2, 11]
    assert js.verify(longest, sched).is_feasible
    assert js.simulate(longest, [0, 1, 2], admission="peak").start.tolist() == [0, 10, 10]


def test_predicted_lengths_order_and_true_lengths_admit():
    true = js.Instance.from_lengths([2, 2], [4, 2], kv_capacity=6)
    predicted = js.Instance.from_lengths([2, 2], [1, 3], kv_capacity=6)
    sched = js.simulate(true, js.policies.shortest_output(predicted))
    assert sched.start.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("priority", "options", "message"),
    [
        ([[1, 2]], {}, r"priority has shape \(1, 2\) but the instance has \(2,\)"),
        (["a", "b"], {}, "priority has dtype <U1; expected integers or floats"),
        ([True, False], {}, "priority has dtype bool; expected integers or floats"),
        ([1, 2], {"discipline": "loose"}, "discipline is 'loose'; expected one of"),
        ([1, 2], {"admission": "eager"}, "admission is 'eager'; expected one of"),
        ([1, 2], {"max_num_seqs": 0}, "max_num_seqs is 0; expected integers >= 1"),
        ([1, 2], {"max_num_seqs": 2.5}, "max_num_seqs is 2.5; expected integers >= 1"),
        ([1, 2], {"max_num_seqs": [1, 2]}, r"max_num_seqs has shape \(2,\)"),
    ],
)
def test_errors_name_the_field(priority, options, message):
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match=message):
        js.simulate(inst, priority, **options)
