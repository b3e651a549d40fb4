"""Sweeps over the load of a server, over traces, and over the requests that run at once."""

import json

import jax
import numpy as np
import pytest

import jaxsched as js

pd = pytest.importorskip("pandas", reason="sweeps need the extra sweep")
pytest.importorskip("pyarrow", reason="sweeps need the extra sweep")

NAME = "llama3.1_8b_h100"
GRID = {
    "workloads": ["chat"],
    "num_requests": [24],
    "rates": [20, 80.0],
    "servers": [NAME],
    "max_num_seqs": [4, 16],
    "rules": ["fcfs"],
    "num_instances": 24,
    "ttft_slo_s": 0.05,
    "seed": 7,
}
AXES = ["workload", "num_requests", "kv_capacity", "server", "max_num_seqs", "arrivals", "rate"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return js.run_sweep(GRID, tmp_path_factory.mktemp("served"))


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "week.csv"
    rows = [f"{0.05 * k**1.5},{30 + 7 * k % 90},{2 + 5 * k % 40}\n" for k in range(40)]
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + "".join(rows))
    return path


def keys(count):
    return [jax.random.fold_in(jax.random.key(7), number) for number in range(count)]


def test_rows_are_those_of_serving_the_same_streams(finished):
    table = js.load_sweep(finished)
    assert len(table) == 2 * 2 * 24
    assert list(table.columns[:9]) == [*AXES, "rule", "instance"]
    for rate in GRID["rates"]:
        streams = [
            js.workloads.poisson(
                jax.random.fold_in(key, 1), js.workloads.chat(key, 24, kv_capacity=10**6), rate
            )
            for key in keys(24)
        ]
        reqs = js.stack(streams)
        server = js.servers.get(NAME).replace(max_num_seqs=4)
        out = js.serve(reqs, server, "fcfs")
        expected = js.metrics.service_summary(reqs, out, server=server, ttft_slo_s=0.05)
        rows = table[(table.rate == rate) & (table.max_num_seqs == 4)]
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name], values, err_msg=name)


def test_a_missing_shard_comes_back_as_it_was(finished, tmp_path):
    before = js.load_sweep(finished)
    content = json.loads((finished / "manifest.json").read_text())
    (finished / "shard-000002.parquet").unlink()
    js.run_sweep(GRID, finished)
    pd.testing.assert_frame_equal(js.load_sweep(finished), before, check_exact=True)
    assert json.loads((finished / "manifest.json").read_text())["sha256"] == content["sha256"]
    with pytest.raises(ValueError, match=r"other rates: rates was \[20.0, 80.0\], now \[20.0\]"):
        js.run_sweep({**GRID, "rates": [20]}, finished)


def test_processes_with_options_are_an_axis(tmp_path):
    bursty = {"name": "gamma", "burstiness": 0.25}
    grid = {**GRID, "arrivals": ["poisson", bursty], "rates": [20], "max_num_seqs": [4]}
    table = js.load_sweep(js.run_sweep(grid, tmp_path / "bursty"))
    assert table.arrivals.unique().tolist() == ["poisson", "gamma(burstiness=0.25)"]
    streams = [
        js.workloads.arrivals.gamma(
            jax.random.fold_in(key, 1),
            js.workloads.chat(key, 24, kv_capacity=10**6),
            20.0,
            burstiness=0.25,
        )
        for key in keys(24)
    ]
    server = js.servers.get(NAME).replace(max_num_seqs=4)
    expected = js.metrics.service_summary(js.stack(streams), js.serve(js.stack(streams), server))
    rows = table[table.arrivals != "poisson"]
    np.testing.assert_array_equal(rows["mean_ttft_s"], expected["mean_ttft_s"])


def test_the_load_axis_is_one_of_an_array_and_is_drawn(finished):
    cube = js.load_sweep(finished, "xarray")
    assert cube["attainment"].dims == (*AXES, "rule", "instance")
    part = cube["attainment"].squeeze().sel(max_num_seqs=16)
    axes = js.plots.load(part["rate"], {"attainment": {"fcfs": part.values}})
    assert axes["attainment"].get_ylabel() == "attainment"


def test_a_trace_is_swept_by_backlogs_and_by_its_own_arrivals(trace, tmp_path):
    workload = {"name": "trace", "path": str(trace)}
    offline = {
        "workloads": [workload],
        "num_requests": [12],
        "kv_capacity": [600],
        "max_num_seqs": [1, 4],
        "rules": ["fcfs"],
        "num_instances": 3,
        "seed": 7,
    }
    table = js.load_sweep(js.run_sweep(offline, tmp_path / "backlogs"))
    for cap in (1, 4):
        inst = js.stack([js.traces.load(trace, 600, num_requests=12, key=key) for key in keys(3)])
        expected = js.compare(inst, ["fcfs"], max_num_seqs=cap).metrics["fcfs"]
        rows = table[table.max_num_seqs == cap]
        np.testing.assert_array_equal(rows["mean_latency_rounds"], expected["mean_latency_rounds"])
    assert (table.workload == f"trace(path={trace})").all()

    online = {**GRID, "workloads": [workload], "arrivals": ["recorded", "poisson"]}
    online |= {"rates": [20], "max_num_seqs": [4]}
    table = js.load_sweep(js.run_sweep(online, tmp_path / "streams"))
    one = [js.traces.load_requests(trace, rate=20, num_requests=24, key=key) for key in keys(24)]
    reqs = js.stack(one)
    server = js.servers.get(NAME).replace(max_num_seqs=4)
    out = js.serve(reqs, server, "fcfs")
    expected = js.metrics.service_summary(reqs, out, server=server)
    rows = table[table.arrivals == "recorded"]
    np.testing.assert_array_equal(rows["mean_ttft_s"], expected["mean_ttft_s"])

    trace.write_text(trace.read_text().replace(",2\n", ",3\n"))
    with pytest.raises(ValueError, match="other workloads"):
        js.run_sweep(online, tmp_path / "streams")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rates": [0]}, r"rates\[0\] is 0; expected requests a second > 0"),
        ({"rates": []}, "ttft_slo_s is 0.05; give rates, or leave it out"),
        ({"servers": []}, "the sweep lacks 'servers', which serve the streams"),
        ({"servers": ["llama"]}, "no server preset is called 'llama'|no .* is called 'llama'"),
        ({"bound": "volume"}, "bound is 'volume'; leave it out, or the rates"),
        ({"arrivals": ["recorded"]}, "arrivals is 'recorded'; expected it for traces alone"),
        ({"arrivals": ["poison"]}, "no arrival process is called 'poison'; did you mean"),
        ({"arrivals": ["gamma"]}, r"arrivals\[0\], gamma: burstiness is missing, and so is cv"),
        ({"arrivals": [{"name": "ramp", "stop": 1}]}, r"arrivals\[0\], ramp: .*'stop'"),
        ({"arrivals": [{"cv": 2.0}]}, r"arrivals\[0\] is .*; expected a name, or a table"),
        ({"workloads": ["uniform"]}, r"workloads\[0\] is 'uniform'; expected a workload whose"),
        ({"workloads": [{"name": "trace"}]}, "expected the path of a trace too"),
        ({"max_num_batched_tokens": [0]}, r"max_num_batched_tokens\[0\] is 0"),
        ({"tpot_slo_s": -1}, "tpot_slo_s is -1; expected seconds > 0"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        js.run_sweep({**GRID, **change}, tmp_path / "none")
    assert not (tmp_path / "none").exists()
