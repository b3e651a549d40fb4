"""The picture of a run shows its log, and without one the times of its requests."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import jaxsched as js
from tests.engine.online.outcomes import columns_of, outcome_of, requests_of
from tests.engine.online.stored_logs import scenario_of

matplotlib.use("agg")


@pytest.fixture(scope="module")
def run():
    scenario = scenario_of("recompute", num_gpu_blocks=21)
    log = scenario.log()
    return requests_of(scenario), outcome_of(scenario, log), columns_of(log), log


@pytest.fixture
def figure():
    return Figure(figsize=(7.5, 7), layout="constrained")


def value_at(line, time):
    """Value of a step line just after a time."""
    at, values = line.get_data()
    return values[np.searchsorted(at, time, side="right") - 1]


def test_a_log_is_drawn_step_by_step(run, figure):
    reqs, out, columns, log = run
    axes = js.plots.service(reqs, out, columns, title="a run", figure=figure)
    assert list(axes) == ["running", "waiting", "kv", "ttft", "e2e"]
    assert figure.get_suptitle() == "a run"
    for name, values in (
        ("running", log.step_running),
        ("waiting", log.step_waiting),
        ("kv", 1 - np.array(log.step_free_mid) / 20),
    ):
        (line,) = axes[name].lines
        drawn = [value_at(line, time) for time in log.step_clock]
        np.testing.assert_allclose(drawn, values, err_msg=name)
        assert value_at(line, log.step_end[-1]) == 0
    assert figure.legends == []


def test_an_idle_server_runs_nothing():
    pair = {
        "arrival_s": [0.0, 10.0],
        "prompt": [4, 4],
        "output": [1, 1],
        "predicted": [1, 1],
        "priority": [0.0, 0.0],
        "victim_rank": [0.0, 0.0],
    }
    scenario = replace(scenario_of("recompute"), **pair)
    log = scenario.log()
    axes = js.plots.service(
        requests_of(scenario), outcome_of(scenario, log), columns_of(log), figure=Figure()
    )
    for name in ("running", "kv"):
        (line,) = axes[name].lines
        assert value_at(line, 0.0) > 0
        assert value_at(line, 5.0) == 0
        assert value_at(line, 10.0) > 0


def test_without_a_log_the_times_tell(run, figure):
    reqs, out, _, _ = run
    axes = js.plots.service(reqs, out, figure=figure)
    assert list(axes) == ["running", "waiting", "ttft", "e2e"]
    for time in np.concatenate([out.first_scheduled, out.completion]):
        waits = (out.arrival <= time) & (out.first_scheduled > time)
        runs = (out.first_scheduled <= time) & (out.completion > time)
        assert value_at(axes["waiting"].lines[0], time) == waits.sum()
        assert value_at(axes["running"].lines[0], time) == runs.sum()


def test_shares_are_of_all_requests(run, figure):
    reqs, out, _, _ = run
    refused = out.replace(
        status=np.where(np.arange(10) < 3, js.Status.REFUSED, js.Status.OK),
        first_scheduled=np.where(np.arange(10) < 3, np.nan, out.first_scheduled),
    )
    axes = js.plots.service(reqs, {"all": out, "some": refused}, figure=figure)
    for name, values in (("ttft", out.ttft), ("e2e", out.latency)):
        every, some = axes[name].lines
        assert every.get_xdata()[1:].tolist() == np.sort(values).tolist()
        assert some.get_xdata()[1:].tolist() == np.sort(values[3:]).tolist()
        assert every.get_ydata()[-1] == 1.0
        assert some.get_ydata()[-1] == 0.7
        assert axes[name].get_xlim()[1] >= values.max()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["all", "some"]
    assert len(axes["running"].lines) == 2


def test_several_streams_have_shares_alone(run, figure):
    reqs, out, columns, _ = run
    both = js.stack([reqs, reqs])
    outs = type(out)(
        **{
            name: None if value is None else np.stack([value, value])
            for name, value in vars(out).items()
            if name != "time_unit"
        }
    )
    axes = js.plots.service(both, outs, figure=figure)
    assert list(axes) == ["ttft", "e2e"]
    assert axes["ttft"].lines[0].get_xdata().size == 21
    with pytest.raises(ValueError, match="log records one stream, but there are several; give"):
        js.plots.service(both, outs, columns, figure=figure)


def test_errors(run, figure):
    reqs, out, columns, _ = run
    with pytest.raises(ValueError, match=r"log is \['b'\]; expected logs of a"):
        js.plots.service(reqs, {"a": out}, {"b": columns}, figure=figure)
    with pytest.raises(ValueError, match=r"log\['step_clock'\] is missing"):
        js.plots.service(reqs, out, {}, figure=figure)
    with pytest.raises(ValueError, match=r"arrival\[0\] is"):
        js.plots.service(reqs, out.replace(arrival=out.arrival + 1), figure=figure)
    none = out.replace(status=np.full(10, js.Status.REFUSED))
    with pytest.raises(ValueError, match="out has no latency to draw for 'fcfs'"):
        js.plots.service(reqs, {"fcfs": none}, figure=figure)
