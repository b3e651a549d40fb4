"""A trace holds the schedule: what is read back from its JSON is what was written."""

import itertools
import json

import jax
import numpy as np
import pytest

import jaxsched as js

CLOCK = js.clock.PRESETS["llama2_70b_2xa100"]


@pytest.fixture(scope="module")
def padded():
    """Requests with padding among them, and one whose whole output is its first token."""
    batch = js.stack(
        [
            js.Instance.from_lengths([7, 3, 1, 5, 2], [2, 4, 1, 3, 6], kv_capacity=14),
            js.Instance.from_lengths([1] * 7, [1] * 7, kv_capacity=9),
        ]
    )
    inst = jax.tree.map(lambda leaf: leaf[0], batch)
    return inst, js.simulate(inst, js.prioritize(inst, "smallest_volume"))


def written(tmp_path, *arguments, **options):
    path = tmp_path / "trace.json"
    js.export.chrome_trace(*arguments[:2], path, *arguments[2:], **options)
    return json.loads(path.read_text())


def rebuilt(trace, n):
    """Start and completion of each request, by its slices alone; -1 where there are none."""
    start, end = np.full(n, -1.0), np.full(n, -1.0)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            request = event["args"]["request"]
            if event["name"] == "prefill":
                start[request] = event["ts"]
            end[request] = max(end[request], event["ts"] + event["dur"])
    return start, end


def counter(trace, name):
    events = [e for e in trace["traceEvents"] if e["ph"] == "C" and e["name"] == name]
    return [e["ts"] for e in events], [e["args"]["tokens"] for e in events]


@pytest.mark.parametrize("tracks", ["requests", "slots"])
def test_schedule_and_memory_are_read_back(padded, tmp_path, tracks):
    inst, sched = padded
    trace = written(tmp_path, inst, sched, tracks=tracks)
    start, end = rebuilt(trace, 7)
    assert start.tolist() == sched.start.tolist()
    assert end.tolist() == sched.completion.tolist()
    held = js.metrics.kv_profile(inst, sched).tolist()
    assert counter(trace, "KV tokens") == (list(range(len(held) + 1)), [*held, 0])
    assert counter(trace, "KV capacity")[1] == [14, 14]
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            request = event["args"]["request"]
            assert event["args"]["prompt_tokens"] == inst.prompt_tokens[request]
            assert event["args"]["output_tokens"] == inst.output_tokens[request]
            assert event["name"] == "decode" or event["dur"] == 1


def test_with_a_clock_times_are_microseconds(padded, tmp_path):
    inst, sched = padded
    trace = written(tmp_path, inst, sched, CLOCK)
    start, end = rebuilt(trace, 7)
    for found, rounds in ((start, sched.start), (end, sched.completion)):
        seconds = CLOCK.seconds(inst, sched, rounds)
        assert found[:5] == pytest.approx(1e6 * seconds[:5], rel=1e-12)
    num_rounds = int(js.metrics.makespan(inst, sched))
    at = CLOCK.seconds(inst, sched, np.arange(num_rounds + 1))
    assert counter(trace, "KV tokens")[0] == pytest.approx(1e6 * at, rel=1e-12)


def test_every_track_is_named_and_slots_never_overlap(padded, tmp_path):
    inst, sched = padded
    start, end = np.asarray(sched.start)[:5], np.asarray(sched.completion)[:5]
    most = max(np.sum((start <= t) & (t < end)) for t in start)
    for tracks, count in (("requests", 5), ("slots", most)):
        events = written(tmp_path, inst, sched, tracks=tracks)["traceEvents"]
        names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        assert names == {tid: f"{tracks[:-1]} {tid}" for tid in range(count)}
        for tid in names:
            slices = sorted(
                (e["ts"], e["ts"] + e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == tid
            )
            assert all(before[1] <= after[0] for before, after in itertools.pairwise(slices))


def test_every_event_has_the_fields_of_its_type(padded, tmp_path):
    trace = written(tmp_path, *padded)
    needed = {"X": {"cat", "tid", "ts", "dur"}, "C": {"ts", "args"}, "M": {"args"}}
    assert trace["displayTimeUnit"] == "ms"
    for event in trace["traceEvents"]:
        assert {"name", "ph", "pid", *needed[event["ph"]]} <= set(event)


def test_what_is_no_single_schedule_is_refused(padded, tmp_path):
    inst, sched = padded
    path = tmp_path / "trace.json"
    batch = js.stack([inst, inst])
    with pytest.raises(ValueError, match="there are 2 instances; expected one"):
        js.export.chrome_trace(batch, js.simulate(batch, batch.output_tokens), path)
    with pytest.raises(ValueError, match="tracks is 'slot'; did you mean 'slots'"):
        js.export.chrome_trace(inst, sched, path, tracks="slot")
    failed = js.simulate(inst, np.full(7, np.nan, np.float32))
    with pytest.raises(ValueError, match=r"the schedule: .*NaN"):
        js.export.chrome_trace(inst, failed, path)
    assert not path.exists()
