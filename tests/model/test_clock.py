import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.clock import PRESET_KV_CAPACITY, PRESETS, LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.stack import stack
from tests.reference import clock_and_metrics as reference

COEFFICIENTS = (55.4, 0.299, 0.156, 0.112, 0.0027)


def random_schedules(seed, leading=(3, 8), n=6, latest=12):
    """Random lengths, padding and starts: gaps, simultaneous starts and o = 1 are common."""
    rng = np.random.default_rng(seed)
    shape = (*leading, n)
    inst = Instance.from_lengths(
        rng.integers(1, 30, shape), rng.integers(1, 6, shape), kv_capacity=100
    )
    real = rng.random(shape) < 0.8
    real[..., 0] = True
    inst = inst.replace(is_real=jnp.asarray(real))
    return inst, Schedule.from_starts(inst, rng.integers(0, latest, shape))


def real_requests(inst, sched, where):
    """Lists of prompts, outputs and starts of one instance."""
    real = np.asarray(inst.is_real[where])
    fields = (inst.prompt_tokens, inst.output_tokens, sched.start)
    return [np.asarray(field[where])[real].tolist() for field in fields]


@pytest.mark.parametrize("latest", [1, 4, 12, 60])
def test_seconds_equal_a_loop_over_rounds(latest):
    inst, sched = random_schedules(seed=latest, latest=latest)
    last = int(sched.completion.max()) + 2
    every_round = np.broadcast_to(np.arange(last + 1), (3, 8, last + 1))
    found = LinearClock(*COEFFICIENTS).seconds(inst, sched, every_round)
    for where in np.ndindex(3, 8):
        requests = real_requests(inst, sched, where)
        expected = reference.elapsed_s(COEFFICIENTS, *requests, last)
        np.testing.assert_allclose(found[where], expected, rtol=1e-12, atol=0)


def test_only_negative_rounds_and_unscheduled_instances_are_nan():
    inst, sched = random_schedules(seed=5)
    clock = LinearClock(*COEFFICIENTS)
    found = clock.seconds(inst, sched, sched.completion)
    np.testing.assert_array_equal(np.isnan(found), ~np.asarray(inst.is_real))

    failed = Schedule(
        start=jnp.full_like(sched.start, -1),
        completion=jnp.full_like(sched.completion, -1),
        status=jnp.full_like(sched.status, Status.NAN_PRIORITY),
    )
    assert np.isnan(clock.seconds(inst, failed, np.full((3, 8, 1), 7))).all()


def test_one_instance_needs_no_leading_axis_and_padding_changes_nothing():
    one = Instance.from_lengths([3, 1], [2, 3], kv_capacity=12)
    other = Instance.from_lengths([4, 2, 5, 1], [1, 1, 6, 2], kv_capacity=12)
    both = stack([one, other])
    starts = np.array([[0, 1, 9, 9], [0, 3, 4, 20]])
    together = Schedule.from_starts(both, starts)
    rounds = np.array([[1, 2, 4], [7, 10, 22]])
    clock = LinearClock(*COEFFICIENTS)
    found = clock.seconds(both, together, rounds)
    for row, inst in enumerate([one, other]):
        alone = Schedule.from_starts(inst, starts[row, : inst.prompt_tokens.size])
        np.testing.assert_array_equal(found[row], clock.seconds(inst, alone, rounds[row]))


def test_idle_rounds_cost_nothing():
    inst = Instance.from_lengths([5, 3], [4, 2], kv_capacity=20)
    clock = LinearClock(*COEFFICIENTS)
    late = 2**31 - 20
    back_to_back = Schedule.from_starts(inst, [0, 4])
    far_apart = Schedule.from_starts(inst, [10, late])
    np.testing.assert_array_equal(
        clock.seconds(inst, far_apart, [0, 10, 11, 14, late, late + 2, 2**31 - 1]),
        clock.seconds(inst, back_to_back, [0, 0, 1, 4, 4, 6, 6]),
    )


def test_a_run_of_two_billion_rounds():
    output = 2**31 - 3
    inst = Instance.from_lengths([1], [output], kv_capacity=2**31 - 1)
    sched = Schedule.from_starts(inst, [0])
    a, b, c, d, e = COEFFICIENTS
    kv = sum(range(3, 12)) + (output * (output + 1) // 2 - sum(range(11))) + output - 10
    exact = (a * output + b + c * (output - 1) + d * kv + e) / 1000
    assert kv == sum((output - 1, output * (output + 1) // 2 - 1))
    found = LinearClock(*COEFFICIENTS).seconds(inst, sched, [output])
    np.testing.assert_allclose(found, [exact], rtol=1e-14)


def test_prompts_near_the_largest_keep_their_squares():
    prompt = 2**31 - 3
    inst = Instance.from_lengths([prompt] * 3, [1, 1, 2], kv_capacity=2**31 - 1)
    sched = Schedule.from_starts(inst, [0, 1, 2])
    found = LinearClock(0.0, 0.0, 0.0, 0.0, 1000.0).seconds(inst, sched, [1, 2, 3, 4])
    np.testing.assert_allclose(found, prompt**2 * np.array([1.0, 2.0, 3.0, 3.0]), rtol=1e-15)


def test_first_round_is_prefill_only_and_later_rounds_decode_only():
    inst = Instance.from_lengths([7], [3], kv_capacity=20)
    sched = Schedule.from_starts(inst, [0])
    parts = {
        "iteration_ms": [1.0, 2.0, 3.0],
        "prefill_ms_per_token": [7.0, 7.0, 7.0],
        "decode_ms_per_request": [0.0, 1.0, 2.0],
        "kv_ms_per_token": [0.0, 9.0, 19.0],  # 9 tokens, then 10
        "attention_ms_per_squared_token": [49.0, 49.0, 49.0],
    }
    for name, expected in parts.items():
        coefficients = dict.fromkeys(parts, 0.0) | {name: 1000.0}
        found = LinearClock(**coefficients).seconds(inst, sched, [1, 2, 3])
        np.testing.assert_array_equal(found, expected, err_msg=name)


@pytest.mark.parametrize(
    ("name", "prefill_ms", "decode_ms", "kv_capacity"),
    [
        ("llama2_70b_2xa100", 381.4, 55.668224, 53_248),
        ("llama2_70b_4xa100", 216.9, 35.5483124, 524_288),
        ("llama2_7b_a100", 74.28, 9.531242, 118_784),
        ("llama3_8b_a100", 79.61, 10.232178, 483_328),
        ("llama2_70b_4xh100", 86.4, 24.5450666, 524_288),
    ],
)
def test_presets(name, prefill_ms, decode_ms, kv_capacity):
    inst = Instance.from_lengths([1000], [2], kv_capacity=kv_capacity)
    found = PRESETS[name].seconds(inst, Schedule.from_starts(inst, [0]), [1, 2])
    np.testing.assert_allclose(np.diff(found, prepend=0) * 1000, [prefill_ms, decode_ms])
    assert PRESET_KV_CAPACITY[name] == kv_capacity
    assert PRESETS.keys() == PRESET_KV_CAPACITY.keys()


def test_a_clock_is_a_pytree_of_five_numbers():
    inst, sched = random_schedules(seed=6)
    clock = PRESETS["llama3_8b_a100"]
    assert len(jax.tree.leaves(clock)) == 5
    twice = jax.tree.map(lambda leaf: 2 * leaf, clock)
    np.testing.assert_allclose(
        twice.seconds(inst, sched, sched.completion),
        2 * clock.seconds(inst, sched, sched.completion),
    )


def test_the_width_of_jax_integers_makes_no_difference():
    found = []
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            inst, sched = random_schedules(seed=7)
            clock = PRESETS["llama2_7b_a100"]
            found.append(clock.seconds(inst, sched, sched.completion))
            assert found[-1].dtype == np.float64
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("round", "message"),
    [
        ([1.0, 2.0], "round has dtype float64; expected integers"),
        (3, r"round has shape \(\); expected \[.., q\] with the leading axes \(\)"),
        ([[1, 2]], r"round has shape \(1, 2\); expected \[.., q\] with the leading axes \(\)"),
    ],
)
def test_rounds_that_do_not_belong_to_the_instance(round, message):
    inst = Instance.from_lengths([3, 1], [2, 3], kv_capacity=12)
    sched = Schedule.from_starts(inst, [0, 0])
    with pytest.raises(ValueError, match=message):
        LinearClock(*COEFFICIENTS).seconds(inst, sched, round)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, np.ones(2)])
def test_coefficients_that_are_no_cost(value):
    inst = Instance.from_lengths([3], [2], kv_capacity=12)
    sched = Schedule.from_starts(inst, [0])
    with pytest.raises(
        ValueError, match=r"kv_ms_per_token of the clock is .*; expected one finite number >= 0"
    ):
        LinearClock(1.0, 1.0, 1.0, value, 1.0).seconds(inst, sched, [1])
