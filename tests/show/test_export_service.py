"""The trace of a run holds the times of its requests and what its log says."""

import itertools
import json

import numpy as np
import pytest

import jaxsched as js
from tests.engine.online.outcomes import columns_of, outcome_of, requests_of
from tests.engine.online.stored_logs import scenario_of

PHASES = ("queued", "prefill", "decode")


@pytest.fixture(scope="module")
def run():
    scenario = scenario_of("recompute")
    log = scenario.log()
    return requests_of(scenario), outcome_of(scenario, log), columns_of(log)


def written(tmp_path, reqs, out, **options):
    path = tmp_path / "trace.json"
    js.export.chrome_trace(reqs, out, path, **options)
    return json.loads(path.read_text())["traceEvents"]


def counter(events, name, value):
    return {e["ts"]: e["args"][value] for e in events if e["ph"] == "C" and e["name"] == name}


@pytest.mark.parametrize("tracks", ["requests", "slots"])
def test_slices_are_the_times_of_requests(run, tmp_path, tracks):
    reqs, out, _ = run
    events = written(tmp_path, reqs, out, tracks=tracks)
    times = np.stack([out.arrival, out.first_scheduled, out.first_token, out.completion])
    expected = {
        (request, phase): (1e6 * times[at, request], 1e6 * times[at + 1, request])
        for request in range(10)
        for at, phase in enumerate(PHASES)
        if times[at + 1, request] > times[at, request]
    }
    slices_by_phase = {
        (e["args"]["request"], e["name"]): (e["ts"], e["ts"] + e["dur"])
        for e in events
        if e["ph"] == "X"
    }
    assert slices_by_phase.keys() == expected.keys()
    for key, span in expected.items():
        assert slices_by_phase[key] == pytest.approx(span)
    slices = [e for e in events if e["ph"] == "X"]
    for e in slices:
        assert e["args"]["prompt_tokens"] == reqs.prompt_tokens[e["args"]["request"]]
        assert e["args"]["preemptions"] == out.num_preemptions[e["args"]["request"]]
    for tid in {e["tid"] for e in slices}:
        row = sorted((e["ts"], e["ts"] + e["dur"]) for e in slices if e["tid"] == tid)
        for (_, end), (begin, _) in itertools.pairwise(row):
            assert begin >= end - 1e-6


def test_a_log_gives_counters_and_evictions(run, tmp_path):
    reqs, out, columns = run
    events = written(tmp_path, reqs, out, log=columns)
    at = 1e6 * columns["step_clock"]
    for name, value, expected in (
        ("requests", "running", columns["step_running"]),
        ("requests", "waiting", columns["step_waiting"]),
        ("KV cache in use", "percent", 100 * (1 - columns["step_free_mid"] / 12)),
    ):
        values = counter(events, name, value)
        assert [values[time] for time in at] == pytest.approx(expected.tolist())
        assert values[max(values)] == 0
    evicted = [(e["tid"], e["ts"]) for e in events if e["ph"] == "i"]
    assert evicted == [
        (request, at[step])
        for step, request in zip(columns["pre_step"], columns["pre_req"], strict=True)
    ]
    assert evicted


def test_refused_requests_have_no_slices(run, tmp_path):
    reqs, out, _ = run
    status = np.where(np.arange(10) == 4, js.Status.REFUSED, out.status)
    events = written(tmp_path, reqs, out.replace(status=status))
    assert {e["args"]["request"] for e in events if e["ph"] == "X"} == set(range(10)) - {4}


def test_unfinished_requests_end_where_they_are_known(run, tmp_path):
    reqs, out, _ = run
    lost = out.replace(
        status=np.full(10, js.Status.STEP_LIMIT),
        completion=np.full(10, np.nan),
        first_token=np.full(10, np.nan),
    )
    events = written(tmp_path, reqs, lost, tracks="slots")
    assert {e["name"] for e in events if e["ph"] == "X"} == {"queued"}
    assert len({e["args"]["name"] for e in events if e["name"] == "thread_name"}) == 10


def test_errors(run, tmp_path):
    reqs, out, columns = run
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    sched = js.Schedule.from_starts(inst, [0, 1])
    second = js.clock.LinearClock(1000.0, 0.0, 0.0, 0.0, 0.0)
    path = tmp_path / "trace.json"
    with pytest.raises(ValueError, match=r"clock is .*; leave it out; an outcome has its seconds"):
        js.export.chrome_trace(reqs, out, path, second)
    with pytest.raises(ValueError, match="expected an instance and its schedule, or requests"):
        js.export.chrome_trace(reqs, sched, path)
    with pytest.raises(ValueError, match="expected an instance and its schedule, or requests"):
        js.export.chrome_trace(inst, out, path)
    with pytest.raises(ValueError, match="log tells of a run, not of a schedule; leave it out"):
        js.export.chrome_trace(inst, sched, path, log=columns)
    with pytest.raises(ValueError, match="tracks is 'slot'; did you mean 'slots'"):
        js.export.chrome_trace(reqs, out, path, tracks="slot")
    two = js.stack([reqs, reqs])
    both = out.replace(**{k: np.stack([v, v]) for k, v in vars(out).items() if np.ndim(v) == 1})
    with pytest.raises(ValueError, match=r"outcome has shape \(2, 10\); expected one stream"):
        js.export.chrome_trace(two, both, path)
