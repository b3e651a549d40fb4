"""Outcomes: what metrics read, in rounds, in seconds, and relaxed."""

import jax
import numpy as np
import pytest

import jaxsched as js

INST = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
SCHED = js.Schedule.from_starts(INST, [0, 2])
ONE_SECOND = js.clock.LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)


def test_rounds_of_a_schedule():
    out = js.Outcome.from_schedule(INST, SCHED)
    assert out.time_unit == "rounds"
    assert out.arrival.tolist() == [0, 0]
    assert out.first_scheduled.tolist() == [0, 2]
    assert out.first_token.tolist() == [1, 3]
    assert out.completion.tolist() == [2, 6]
    assert out.latency.tolist() == [2, 6]
    assert out.ttft.tolist() == [1, 3]
    assert out.queueing.tolist() == [0, 2]
    assert out.num_preemptions.tolist() == [0, 0]


def test_seconds_come_from_the_clock(x64):
    del x64
    clock = js.clock.PRESETS["llama2_70b_2xa100"]
    out = js.Outcome.from_schedule(INST, SCHED, clock)
    assert out.completion_s.dtype == np.float64
    np.testing.assert_array_equal(out.completion_s, clock.seconds(INST, SCHED, SCHED.completion))
    np.testing.assert_array_equal(out.first_token_s, clock.seconds(INST, SCHED, SCHED.start + 1))
    np.testing.assert_array_equal(out.first_scheduled_s, clock.seconds(INST, SCHED, SCHED.start))
    assert out.arrival_s.tolist() == [0.0, 0.0]


def test_rounds_are_no_seconds():
    with pytest.raises(ValueError, match="counts rounds, so it has no completion_s; give a clock"):
        _ = js.Outcome.from_schedule(INST, SCHED).completion_s


def test_metrics_of_an_outcome_are_those_of_its_schedule():
    inst = js.workloads.uniform(jax.random.key(0), batch=3)
    sched = js.simulate(inst, inst.output_tokens)
    out = js.Outcome.from_schedule(inst, sched)
    for metric, expected in js.metrics.summary(inst, sched).items():
        np.testing.assert_array_equal(js.metrics.summary(inst, out)[metric], expected, metric)


def test_latency_counts_from_the_arrival():
    out = js.Outcome.from_schedule(INST, SCHED).replace(arrival=np.array([1, 2], np.int32))
    assert js.metrics.latency(INST, out).tolist() == [1.0, 4.0]
    assert js.metrics.time_to_first_token(INST, out).tolist() == [0.0, 1.0]
    assert float(js.tuning.mean_latency(INST, out)) == 2.5


def test_metrics_in_rounds_refuse_seconds():
    out = js.Outcome.from_schedule(INST, SCHED, ONE_SECOND)
    assert js.metrics.latency(INST, out).tolist() == [2.0, 6.0]
    with pytest.raises(ValueError, match="the outcome counts seconds; expected rounds"):
        js.metrics.kv_profile(INST, out)
    with pytest.raises(ValueError, match="the outcome counts s already; give a clock with"):
        js.metrics.latency(INST, out, ONE_SECOND)


def test_a_relaxed_outcome_has_slopes():
    def mean(completion):
        return js.tuning.mean_latency(INST, js.Outcome.relaxed(INST, completion))

    np.testing.assert_allclose(jax.grad(mean)(jax.numpy.array([2.0, 5.5])), [0.5, 0.5])


def test_tables_and_text():
    out = js.Outcome.from_schedule(INST, SCHED, ONE_SECOND)
    assert out.to_pandas()["completion"].tolist() == [2.0, 6.0]
    assert repr(out) == "Outcome(n=2, time_unit='s', last completion=6)"
    assert "Outcome of 2 requests" in out._repr_html_()
    failed = out.replace(status=np.array([0, 1], np.int32))
    assert repr(failed) == "Outcome(n=2, time_unit='s', last completion=2, not served=1)"


def test_one_stream_is_indexed_by_nothing():
    out = js.Outcome.from_schedule(INST, SCHED, ONE_SECOND).replace(num_steps=np.array(6))
    assert out[()].num_steps.tolist() == 6
    assert out[()].completion.tolist() == [2.0, 6.0]
