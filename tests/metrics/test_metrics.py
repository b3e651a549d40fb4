import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched import metrics
from jaxsched.model.clock import LinearClock
from jaxsched.model.instance import Instance
from jaxsched.model.schedule import Schedule, Status
from jaxsched.model.stack import stack
from tests.reference import clock_and_metrics as reference

COEFFICIENTS = (55.4, 0.299, 0.156, 0.112, 0.0027)
CLOCK = LinearClock(*COEFFICIENTS)
MAX_INT32 = 2**31 - 1


def random_schedules(seed, leading=(3, 8), n=9, latest=25):
    """Random lengths and starts, feasible or not; between 1 and n requests of each are real."""
    rng = np.random.default_rng(seed)
    shape = (*leading, n)
    inst = Instance.from_lengths(
        rng.integers(1, 30, shape), rng.integers(1, 8, shape), kv_capacity=100
    )
    num_real = rng.integers(1, n + 1, (*leading, 1))
    real = rng.permuted(np.arange(n) < np.broadcast_to(num_real, shape), axis=-1)
    inst = inst.replace(is_real=jnp.asarray(real))
    return inst, Schedule.from_starts(inst, rng.integers(0, latest, shape))


def real_requests(inst, sched, where):
    """Lists of prompts, outputs and starts of one instance."""
    real = np.asarray(inst.is_real[where])
    fields = (inst.prompt_tokens, inst.output_tokens, sched.start)
    return [np.asarray(field[where])[real].tolist() for field in fields]


def not_scheduled(inst):
    nowhere = jnp.full_like(inst.prompt_tokens, -1)
    return Schedule(
        start=nowhere,
        completion=nowhere,
        status=jnp.full_like(inst.kv_capacity, Status.NAN_PRIORITY),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("leading", [(), (7,), (2, 5)])
def test_summary_equals_loops_over_requests_and_rounds(seed, leading):
    inst, sched = random_schedules(seed, leading)
    in_rounds = metrics.summary(inst, sched)
    found = metrics.summary(inst, sched, clock=CLOCK, deadline_s=1.5)
    assert {key: found[key].tolist() for key in in_rounds} == {
        key: value.tolist() for key, value in in_rounds.items()
    }
    for where in np.ndindex(*leading):
        requests = real_requests(inst, sched, where)
        for keys, expected in (
            (in_rounds, reference.summary(*requests)),
            (found, reference.summary(*requests, COEFFICIENTS, deadline_s=1.5)),
        ):
            assert list(keys) == list(expected)
            for key, value in expected.items():
                assert found[key].shape == leading
                np.testing.assert_allclose(found[key][where], value, rtol=1e-12, err_msg=key)


def test_a_hand_worked_schedule():
    # Rounds 1..6 hold 4 5 2 3 4 5: request 0 in rounds 1, 2 and request 1 in rounds 3 .. 6.
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    found = metrics.summary(inst, Schedule.from_starts(inst, [0, 2]))
    assert {key: value.item() for key, value in found.items()} == pytest.approx(
        {
            "total_latency_rounds": 8,
            "mean_latency_rounds": 4,
            "p50_latency_rounds": 4,
            "p90_latency_rounds": 5.6,
            "p95_latency_rounds": 5.8,
            "p99_latency_rounds": 5.96,
            "max_latency_rounds": 6,
            "mean_ttft_rounds": 2,
            "p99_ttft_rounds": 2.98,
            "mean_slowdown": 1.25,
            "p99_slowdown": 1.495,
            "makespan_rounds": 6,
            "peak_kv_tokens": 5,
            "mean_kv_tokens": 23 / 6,
            "throughput_tokens_per_round": 1,
        }
    )
    one_second_a_round = LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)
    late = metrics.summary(inst, Schedule.from_starts(inst, [0, 2]), one_second_a_round, 5)
    assert late["share_within_deadline"] == 0.5
    assert late["throughput_tokens_per_s"] == 1.0
    on_time = metrics.summary(inst, Schedule.from_starts(inst, [0, 2]), one_second_a_round, 6)
    assert on_time["share_within_deadline"] == 1.0


def test_percentiles_are_those_of_numpy():
    inst, sched = random_schedules(seed=3, leading=(20,), n=37, latest=500)
    found = metrics.summary(inst, sched)
    completion, real = np.asarray(sched.completion), np.asarray(inst.is_real)
    for q in (50, 90, 95, 99):
        expected = [np.percentile(row[keep], q) for row, keep in zip(completion, real, strict=True)]
        np.testing.assert_allclose(found[f"p{q}_latency_rounds"], expected, rtol=1e-14)


def test_values_of_each_request_are_nan_for_padding_only():
    inst, sched = random_schedules(seed=4)
    real = np.asarray(inst.is_real)
    for values in (
        metrics.latency(inst, sched),
        metrics.latency(inst, sched, CLOCK),
        metrics.time_to_first_token(inst, sched),
        metrics.time_to_first_token(inst, sched, CLOCK),
        metrics.slowdown(inst, sched),
    ):
        assert values.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(values), ~real)
    slowdown = metrics.slowdown(inst, sched)[real]
    assert (slowdown >= 1).all()
    np.testing.assert_array_equal(slowdown == 1, np.asarray(sched.start)[real] == 0)


def test_padding_and_the_order_of_requests_change_nothing():
    inst, sched = random_schedules(seed=5, leading=(6,))
    found = metrics.summary(inst, sched, CLOCK, deadline_s=1.0)
    for row in range(6):
        prompt, output, start = (np.array(x)[::-1] for x in real_requests(inst, sched, row))
        alone = Instance.from_lengths(prompt, output, kv_capacity=100)
        expected = metrics.summary(alone, Schedule.from_starts(alone, start), CLOCK, deadline_s=1.0)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key][row], value, rtol=1e-14, err_msg=key)


def test_more_instances_than_one_block_holds():
    # One request each: everything is known in closed form.
    num_instances = 2**18 + 3
    index = np.arange(num_instances)
    prompt, output, start = index % 7 + 1, index % 5 + 1, index % 11
    inst = Instance.from_lengths(prompt[:, None], output[:, None], kv_capacity=20)
    sched = Schedule.from_starts(inst, start[:, None])
    found = metrics.summary(inst, sched, clock=LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0))
    np.testing.assert_array_equal(found["total_latency_rounds"], start + output)
    np.testing.assert_array_equal(found["peak_kv_tokens"], prompt + output)
    np.testing.assert_array_equal(found["total_latency_s"], output)
    np.testing.assert_array_equal(found["mean_ttft_s"], 1.0)


def test_sums_beyond_int32():
    half = 2**30
    inst = Instance.from_lengths([[half, half]], [[half - 2, 3]], kv_capacity=MAX_INT32)
    sched = Schedule.from_starts(inst, [[half, MAX_INT32 - 8]])
    found = metrics.summary(inst, sched)
    completions = [2 * half - 2, MAX_INT32 - 5]
    volumes = [half * (half - 2) + (half - 2) * (half - 1) // 2, 3 * half + 6]
    assert found["total_latency_rounds"] == sum(completions) > MAX_INT32
    assert found["makespan_rounds"] == max(completions)
    # In the last round of the second request: 2 half - 6 of the first, half + 3 of its own.
    assert found["peak_kv_tokens"] == 3 * half - 3
    np.testing.assert_allclose(found["mean_kv_tokens"], sum(volumes) / max(completions), 1e-15)


@pytest.mark.parametrize("leading", [(), (7,), (2, 5)])
def test_kv_profile_equals_a_loop_over_rounds(leading):
    inst, sched = random_schedules(seed=6, leading=leading)
    profile = metrics.kv_profile(inst, sched)
    makespan = metrics.makespan(inst, sched)
    assert profile.dtype == np.int64
    assert profile.shape == (*leading, makespan.max())
    for where in np.ndindex(*leading):
        requests = real_requests(inst, sched, where)
        expected = reference.kv_profile(*requests, profile.shape[-1])
        np.testing.assert_array_equal(profile[where], expected)
    np.testing.assert_array_equal(profile.max(axis=-1), metrics.peak_kv_tokens(inst, sched))
    np.testing.assert_allclose(
        profile.sum(axis=-1) / makespan, metrics.mean_kv_tokens(inst, sched), rtol=1e-14
    )


def test_a_profile_too_long_to_hold_is_refused():
    inst = Instance.from_lengths([[1], [1]], [[1], [1]], kv_capacity=2)
    sched = Schedule.from_starts(inst, [[0], [2**27]])
    with pytest.raises(ValueError, match=r"2 instances over 134217729 rounds would take 2\.0 GiB"):
        metrics.kv_profile(inst, sched)
    assert metrics.peak_kv_tokens(inst, sched).tolist() == [2, 2]


def test_the_width_of_jax_integers_makes_no_difference():
    found = []
    for enabled in (False, True):
        with jax.enable_x64(enabled):
            inst, sched = random_schedules(seed=7)
            found.append(metrics.summary(inst, sched, CLOCK, deadline_s=1.0))
            found[-1]["profile"] = metrics.kv_profile(inst, sched)
    narrow, wide = found
    for key, value in narrow.items():
        assert value.dtype == wide[key].dtype
        np.testing.assert_array_equal(value, wide[key], err_msg=key)


def test_an_instance_that_was_not_scheduled_is_named():
    good = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    inst = stack([good, good])
    fine = Schedule.from_starts(inst, [[0, 0], [0, 0]])
    broken = not_scheduled(inst)
    sched = jax.tree.map(lambda a, b: jnp.stack([a[0], b[1]]), fine, broken)
    for metric in (metrics.summary, metrics.kv_profile, metrics.latency):
        with pytest.raises(ValueError, match="instance 1: the rule gave a real request the"):
            metric(inst, sched)


def test_the_schedule_of_other_lengths_is_refused():
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    predicted = Instance.from_lengths([3, 1], [2, 5], kv_capacity=8)
    sched = Schedule.from_starts(predicted, [0, 0])
    with pytest.raises(ValueError, match=r"completion\[1\] is 5; expected start \+ output_tokens"):
        metrics.summary(inst, sched)


def test_an_instance_of_padding_only_is_refused():
    inst = Instance.from_lengths([[3], [1]], [[2], [4]], kv_capacity=8)
    inst = inst.replace(is_real=jnp.asarray([[True], [False]]))
    with pytest.raises(ValueError, match="instance 1 has no real requests"):
        metrics.summary(inst, Schedule.from_starts(inst, [[0], [0]]))


@pytest.mark.parametrize(
    ("clock", "deadline_s", "message"),
    [
        (None, 3.0, "deadline_s is 3.0 but there is no clock"),
        (CLOCK, float("nan"), "deadline_s is nan; expected a finite number of seconds > 0"),
        (CLOCK, 0, "deadline_s is 0; expected a finite number of seconds > 0"),
    ],
)
def test_deadlines_that_mean_nothing(clock, deadline_s, message):
    inst = Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match=message):
        metrics.summary(inst, Schedule.from_starts(inst, [0, 2]), clock, deadline_s)
