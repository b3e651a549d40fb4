"""Sweeps over the load of a server, over traces, and over the requests that run at once."""

import itertools
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

SETTINGS = {
    "watermark": [0, 0.2],
    "enable_chunked_prefill": [True],
    "admission": ["prompt", "chunk"],
}
OF_SETTINGS = {**GRID, "rates": [80], "max_num_seqs": [16], "kv_capacity": [1600]}
OF_SETTINGS |= {"max_num_batched_tokens": [512], "settings": SETTINGS, "e2e_slo_s": 0.5}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return js.run_sweep(GRID, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def of_settings(tmp_path_factory):
    return js.run_sweep(OF_SETTINGS, tmp_path_factory.mktemp("settings"))


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


def test_settings_are_crossed_as_by_a_loop_of_serving(of_settings):
    table = js.load_sweep(of_settings)
    # As js.Server lists its settings.
    names = ["enable_chunked_prefill", "watermark", "admission"]
    axes = [*AXES[:5], "max_num_batched_tokens", *names, *AXES[5:]]
    assert list(table.columns[:13]) == [*axes, "rule", "instance"]
    assert len(table) == 2 * 2 * 24
    reqs = js.stack(
        [
            js.workloads.poisson(
                jax.random.fold_in(key, 1), js.workloads.chat(key, 24, kv_capacity=10**6), 80.0
            )
            for key in keys(24)
        ]
    )
    targets = {"ttft_slo_s": 0.05, "e2e_slo_s": 0.5}
    place = 0
    for each in itertools.product(*(SETTINGS[name] for name in names)):
        setting = dict(zip(names, each, strict=True))
        server = js.servers.get(NAME).replace(
            kv_capacity=1600, max_num_seqs=16, max_num_batched_tokens=512, **setting
        )
        expected = js.metrics.service_summary(
            reqs, js.serve(reqs, server, "fcfs"), server=server, **targets
        )
        rows = table[place : place + 24]  # cells are in the order of the settings
        place += 24
        for name, value in setting.items():
            assert (rows[name] == value).all()
        for name, values in expected.items():
            np.testing.assert_array_equal(rows[name], values, err_msg=f"{setting}, {name}")
    assert table.groupby(names)["mean_ttft_s"].mean().nunique() == 4


def test_settings_are_axes_of_every_form_and_of_the_manifest(of_settings):
    table, cube = js.load_sweep(of_settings), js.load_sweep(of_settings, "xarray")
    assert cube["admission"].values.tolist() == ["prompt", "chunk"]
    found = cube["attainment"].sel(admission="chunk", watermark=0.2, enable_chunked_prefill=True)
    rows = table[(table.admission == "chunk") & (table.watermark == 0.2)]
    rows = rows[rows.enable_chunked_prefill]
    np.testing.assert_array_equal(found.values.ravel(), rows["attainment"])
    moments = js.load_sweep(of_settings, "moments")["attainment"]
    assert moments["mean"].groupby("watermark").mean().index.tolist() == [0.0, 0.2]
    grid = json.loads((of_settings / "manifest.json").read_text())["grid"]
    assert grid["settings"] == {**SETTINGS, "watermark": [0.0, 0.2]}


def test_a_sweep_of_settings_goes_on_with_the_same_ones_alone(of_settings):
    before = js.load_sweep(of_settings)
    (of_settings / "shard-000003.parquet").unlink()
    turned = dict(reversed(SETTINGS.items()))  # a table has no order
    js.run_sweep({**OF_SETTINGS, "settings": turned}, of_settings)
    pd.testing.assert_frame_equal(js.load_sweep(of_settings), before, check_exact=True)
    for name in ("settings", "e2e_slo_s", "max_num_seqs"):
        less = {other: value for other, value in OF_SETTINGS.items() if other != name}
        with pytest.raises(ValueError, match=f"other {name}: {name} was .*, now None; choose"):
            js.run_sweep(less, of_settings)


def test_a_setting_with_an_axis_of_its_own_is_that_axis(finished):
    """The finished sweep takes it as its own."""
    less = {name: value for name, value in GRID.items() if name != "max_num_seqs"}
    grid = {**less, "settings": {"max_num_seqs": np.array([4, 16])}}
    assert js.run_sweep(grid, finished) == finished


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
        ({"e2e_slo_s": "1"}, "e2e_slo_s is '1'; expected seconds > 0"),
        ({"settings": ["watermark"]}, r"settings is \['watermark'\]; expected a dict of lists"),
        ({"settings": {"watermrk": [0]}}, "setting is called 'watermrk'; did you mean 'watermark'"),
        ({"settings": {"clock": [0]}}, "no setting is called 'clock'"),
        ({"settings": {"watermark": 0.1}}, "settings holds 0.1 for watermark; expected a list of"),
        ({"settings": {"watermark": []}}, r"settings holds \[\] for watermark; expected a list of"),
        ({"settings": {"watermark": [0, 0.0]}}, "expected values of watermark that differ"),
        ({"settings": {"watermark": [0, -1]}}, r"watermark\[1\] is -1; expected a number >= 0"),
        ({"settings": {"watermark": ["x"]}}, r"watermark\[0\] is 'x'; expected a number >= 0"),
        ({"settings": {"watermark": [float("nan")]}}, r"watermark\[0\] is nan; expected a number"),
        ({"settings": {"block_size": [16, [8]]}}, r"block_size\[1\] is \[8\]; expected one num"),
        ({"settings": {"block_size": [1.5]}}, r"block_size\[0\] is 1.5; expected an integer >= 1"),
        ({"settings": {"admission": ["peek"]}}, r"admission\[0\] is 'peek'; did you mean 'peak'"),
        ({"settings": {"prefill_first": ["no"]}}, r"first\[0\] is 'no'; expected True or False"),
        (
            {"settings": {"max_num_seqs": [8]}},
            "settings holds max_num_seqs, which the sweep lists too; leave out one of them",
        ),
        ({"rates": [], "settings": {"watermark": [0]}}, "settings is .*; give rates, or leave it"),
        (
            {"settings": {"block_size": list(range(1, 2**11)), "swap_s_per_token": [*range(999)]}},
            "the sweep has 8179812 cells; expected at most",
        ),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        js.run_sweep({**GRID, **change}, tmp_path / "none")
    assert not (tmp_path / "none").exists()
