"""Metrics, clock, verdicts and bounds inside jit and vmap: the numbers of a plain numpy oracle."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.reference import metrics_in_numpy as reference

COEFFICIENTS = (55.4, 0.299, 0.156, 0.112, 0.0027)
CLOCK = js.clock.LinearClock(*COEFFICIENTS)
MAX_INT32 = 2**31 - 1
WAYS = {
    "eager": lambda function: function,
    "jit": jax.jit,
    "vmap": jax.vmap,
    "jit of vmap": lambda function: jax.jit(jax.vmap(function)),
}
QUICK = ("eager", False), ("jit of vmap", False)
# The quick ones by default, the others as slow tests: each compiles programs of its own.
every_way = pytest.mark.parametrize(
    ("way", "x64"),
    [
        pytest.param(way, is_wide, marks=() if (way, is_wide) in QUICK else pytest.mark.slow)
        for way in WAYS
        for is_wide in (False, True)
    ],
    indirect=["x64"],
)
# Of what is rounded XLA may round a product and a sum at once; all else is equal to the bit.
ROUNDED = ("slowdown", "p50", "p90", "p95", "p99", "_s")


def random_schedules(seed, rows, n, size):
    """Schedules with ties, gaps and padding anywhere; the capacity holds or not.

    ``size`` is the largest length. The largest lets sums of volumes pass 2^53.
    """
    rng = np.random.default_rng(seed)
    shape = rows, n
    prompt = rng.integers(1, size, shape)
    output = rng.integers(1, max(2, size // n), shape)
    real = rng.random(shape) < rng.choice([0.3, 0.8, 1.0], (rows, 1))
    real[:, rng.integers(n)] = True
    latest = np.minimum(rng.choice([2, size, 4 * size], (rows, 1)), MAX_INT32 - size)
    start = rng.integers(0, latest, shape)
    total = np.minimum((prompt + output).sum(axis=-1), MAX_INT32)
    capacity = rng.integers((prompt + output).max(axis=-1), total + 1)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
    inst = inst.replace(is_real=jnp.asarray(real))
    return inst, js.Schedule.from_starts(inst, start)


def fields(inst, sched):
    names = inst.prompt_tokens, inst.output_tokens, sched.start, sched.completion, inst.is_real
    prompt, output, start, completion, real = map(np.asarray, names)
    # In the oracle, padding comes and goes at round 0.
    start, completion = (np.where(real, each, 0) for each in (start, completion))
    return prompt, output, start, completion, real, np.asarray(inst.kv_capacity)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        rtol = 1e-14 if any(part in name for part in ROUNDED) else 0
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)


@pytest.mark.parametrize("size", [12, 1000, 2**30], ids=["ties", "usual", "largest"])
@every_way
class TestAgainstNumpy:
    def test_summary(self, way, size, x64):
        inst, sched = random_schedules(size, rows=300, n=13, size=size)
        prompt, output, start, completion, real, _ = fields(inst, sched)
        found = WAYS[way](js.metrics.summary)(inst, sched)
        assert_same(found, reference.summary(prompt, output, start, completion, real))

    def test_verdict(self, way, size, x64):
        inst, sched = random_schedules(size + 1, rows=500, n=9, size=size)
        prompt, _, start, completion, real, capacity = fields(inst, sched)
        found = WAYS[way](js.verify)(inst, sched)
        expected = reference.verdict(prompt, start, completion, real, capacity)
        for one, other in zip(found, expected, strict=False):
            np.testing.assert_array_equal(one, other)
        assert found.tokens_held.dtype == found.first_violated_round.dtype == np.int64
        assert 0.05 < np.asarray(found.is_feasible).mean() < 0.98

    def test_seconds(self, way, size, x64):
        inst, sched = random_schedules(size + 2, rows=40, n=7, size=size)
        prompt, _, start, completion, real, _ = fields(inst, sched)
        rounds = np.concatenate([np.where(real, completion, -1), start + 1], axis=-1)
        found = WAYS[way](CLOCK.seconds)(inst, sched, jnp.asarray(rounds, jnp.int32))
        expected = reference.seconds(COEFFICIENTS, prompt, start, completion, real, rounds)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=1e-13)

    def test_bounds(self, way, size, x64):
        inst, sched = random_schedules(size + 3, rows=500, n=11, size=size)
        prompt, output, *_, real, capacity = fields(inst, sched)
        found = WAYS[way](js.bounds.volume)(inst)
        assert found.dtype == np.float64
        expected = reference.volume_bound(prompt, output, real, capacity)
        np.testing.assert_array_equal(found, expected)
        busy = np.asarray(WAYS[way](js.bounds.mean_busy)(inst))
        exact = reference.mean_busy_bound(prompt, output, real, capacity)
        np.testing.assert_allclose(busy, exact * (1 - 1e-9), rtol=1e-12)
        assert (busy < exact).all()


@every_way
def test_the_whole_family_is_what_it_is_outside(way, x64):
    inst, sched = random_schedules(5, rows=50, n=8, size=30)
    for metric in (
        functools.partial(js.metrics.summary, clock=CLOCK, deadline_s=3.0),
        functools.partial(js.metrics.latency, clock=CLOCK),
        functools.partial(js.metrics.time_to_first_token, clock=CLOCK),
        js.metrics.latency,
        js.metrics.time_to_first_token,
        js.metrics.slowdown,
        js.metrics.makespan,
        js.metrics.peak_kv_tokens,
        js.metrics.mean_kv_tokens,
        functools.partial(js.Outcome.from_schedule, clock=CLOCK),
    ):
        traced = WAYS[way](lambda inst, sched, metric=metric: metric(inst, sched))(inst, sched)
        outside = metric(inst, sched)
        assert jax.tree.structure(traced) == jax.tree.structure(outside)
        for one, other in zip(jax.tree.leaves(traced), jax.tree.leaves(outside), strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol=1e-14)


def test_a_clock_may_be_mapped_over():
    inst, sched = random_schedules(6, rows=4, n=8, size=30)
    a = np.array([1.0, 55.4, 80.0], np.float32)

    def makespan_s(iteration_ms):
        clock = CLOCK.replace(iteration_ms=iteration_ms)
        return js.metrics.summary(inst, sched, clock)["makespan_s"]

    found = jax.jit(jax.vmap(makespan_s))(jnp.asarray(a))
    expected = [makespan_s(float(each)) for each in a]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_programs_lower_for_accelerators(platform):
    inst, sched = random_schedules(7, rows=4, n=8, size=30)

    def everything(inst, sched):
        of_inst = js.bounds.volume(inst), js.bounds.mean_busy(inst)
        return js.metrics.summary(inst, sched, CLOCK, 3.0), js.verify(inst, sched), of_inst

    text = jax.jit(everything).trace(inst, sched).lower(lowering_platforms=(platform,)).as_text()
    assert "callback" not in text


def test_what_was_not_scheduled_is_nan_in_a_trace_and_an_error_outside():
    inst, sched = random_schedules(8, rows=3, n=5, size=9)
    priority = jnp.where(jnp.arange(3)[:, None] == 1, jnp.nan, jnp.zeros((3, 5)))
    sched = js.simulate(inst, priority)
    padding = inst.replace(is_real=inst.is_real & (jnp.arange(3) < 2)[:, None])
    found = jax.jit(functools.partial(js.metrics.summary, clock=CLOCK, deadline_s=3.0))(
        padding, sched
    )
    for name, values in found.items():
        nothing = {"makespan_rounds": -1, "peak_kv_tokens": 0}.get(name, np.nan)
        np.testing.assert_array_equal(values[1:], [nothing, nothing], err_msg=name)
        assert np.asarray(values)[0] >= 0, name
    verdict = jax.jit(js.verify)(inst, sched)
    assert verdict.is_feasible.tolist() == [True, False, True]
    assert verdict.first_violated_round.tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match="instance 1: the rule gave"):
        js.metrics.summary(inst, sched)


def test_a_trace_judges_schedules_of_other_lengths_or_negative_rounds():
    inst, sched = random_schedules(9, rows=2, n=4, size=9)
    roomy = inst.replace(kv_capacity=jnp.full_like(inst.kv_capacity, 1000))
    late = sched.replace(completion=sched.completion.at[0].add(1))
    early = js.Schedule(sched.start.at[1].set(-1), sched.completion, sched.status)
    judge = jax.jit(lambda inst, sched: js.verify(inst, sched).is_feasible)
    found = [judge(roomy, each).tolist() for each in (sched, late, early)]
    assert found == [[True, True], [False, True], [True, False]]


INST = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
SCHED = js.Schedule.from_starts(INST, [0, 1])
REQS, SERVER = INST.as_requests(), js.Server(kv_capacity=99)


@pytest.mark.parametrize(
    ("function", "argument", "sentence"),
    [
        (
            lambda prompt: js.Instance.from_lengths(prompt, [2, 4], kv_capacity=8),
            INST.prompt_tokens,
            r"from_lengths checks values .*; build the instance outside, or js.Instance\(\.\.\.\)",
        ),
        (
            lambda start: js.Schedule.from_starts(INST, start),
            SCHED.start,
            r"from_starts checks values .*; build the schedule outside",
        ),
        (
            lambda prompt: js.Requests.from_arrays([0.0, 0.0], prompt, [2, 4]),
            INST.prompt_tokens,
            r"from_arrays checks values .*; build the requests outside",
        ),
        (
            lambda inst: js.compare(inst, ["fcfs"]),
            INST,
            r"compare looks at values .*; call it outside, or simulate and js.metrics.summary",
        ),
        (
            lambda sched: js.metrics.kv_profile(INST, sched),
            SCHED,
            r"kv_profile returns .*; call it outside, or peak_kv_tokens and mean_kv_tokens",
        ),
        (js.bounds.price, INST, r"price looks at values .*; call it outside, or volume and"),
        (lambda inst: js.stack([inst, inst]), INST, "stack pads on the host .*; call it outside"),
        (
            lambda reqs: js.metrics.service_summary(reqs, js.serve(reqs, SERVER)),
            REQS,
            "service metrics look at values .*; return the outcome, and measure it outside",
        ),
    ],
)
def test_what_looks_at_values_says_so_in_a_trace(function, argument, sentence):
    with pytest.raises(TypeError, match=sentence) as caught:
        jax.jit(function)(argument)
    assert "cannot run inside jit or vmap" in str(caught.value)
    assert "\n" not in str(caught.value)
