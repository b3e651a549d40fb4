"""Sweep files that are damaged or make no sense: one error that names file and field."""

import json
import shutil

import numpy as np
import pytest

import jaxsched as js

pytest.importorskip("pandas", reason="sweeps need the extra sweep")
pytest.importorskip("pyarrow", reason="sweeps need the extra sweep")

GRID = {
    "workloads": ["chat"],
    "num_requests": [12],
    "kv_capacity": [4200],
    "rules": ["fcfs", {"name": "linear_score", "features": ["log_output"], "weights": [1.0]}],
    "num_instances": 3,
}
TOML = """
workloads = ["chat", {name = "mixed", exact_counts = true}]
num_requests = [12]
kv_capacity = [4200, 8400]
rules = ["fcfs", {name = "linear_score", features = ["log_output"], weights = [1.0]}]
num_instances = 3
seed = 7
discipline = "strict"
"""
REMEDY = "; restore the file, or run the sweep into another folder"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return js.run_sweep(GRID, tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "kept")


def message_of(call, *arguments):
    with pytest.raises(ValueError, match=r"\S") as caught:
        call(*arguments)
    assert len(str(caught.value)) < 900
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discipline": {"a": 1}}, "discipline is {'a': 1}; expected one of strict"),
        ({"keep": ["instances"]}, "keep is ['instances']; "),
        ({"bound": {"a": 1}}, "no bound is called {'a': 1}"),
        ({"seed": True}, "seed is True; expected an integer"),
        ({"seed": 10**400}, "seed is 1000"),
        ({"num_instances": 2.5}, "num_instances is 2.5; expected an integer"),
        ({"num_requests": 12}, "num_requests is 12; expected a list"),
        ({"num_requests": [True]}, "num_requests[0] is True; expected an integer"),
        ({"num_requests": [[12]]}, "num_requests[0] is [12]; expected an integer"),
        ({"kv_capacity": [{"a": 1}]}, "kv_capacity[0] is {'a': 1}; expected an integer"),
        ({"servers": [{"name": "llama3_8b_a100"}]}, "no server is called {'name'"),
        ({"servers": [["llama3_8b_a100"]]}, "no server is called ['llama3"),
        ({"rules": [True]}, "rules[0] is True; expected a name, or a table with a name"),
        ({"rules": [{"name": True}]}, "rules[0] is {'name': True}; expected a name"),
        ({"rules": [{"name": "linear_score", "features": 3}]}, "rules[0]: "),
        ({"rules": [{"name": "linear_score", "weights": [10**400]}]}, "rules[0]: "),
        ({"rules": [{"name": "sorted_f", "selector": 3}]}, "rules[0]: "),
        ({"rules": [{"name": "fcfs", "weight": {1, 2}}]}, "rules[0] is {'name': 'fcfs', 'weight'"),
        ({"rules": [{"name": "fcfs", "weight": float("nan")}]}, "as JSON can hold"),
        ({"workloads": [{"name": "chat", 3: 4}]}, "workloads[0] is {'name': 'chat', 3: 4}"),
        ({"workloads": [{"name": "trace", "path": 3}]}, "expected the path of a trace too"),
        ({"workloads": [{"name": "worst_case", "rule": [3]}]}, "workloads[0]: no worst case"),
        ({"num_requests": list(range(1, 3000)), "kv_capacity": list(range(5000, 8000))}, "cells;"),
        ({"num_requests": [3_000_000], "num_instances": 2**31 - 1}, "to have at most 1048576"),
        ({"rates": [10**400], "servers": ["llama3.1_8b_h100"]}, "rates[0] is 1000"),
        ({"rates": [True], "servers": ["llama3.1_8b_h100"]}, "rates[0] is True; expected requ"),
        ({"rates": [1], "servers": ["llama3.1_8b_h100"], "ttft_slo_s": True}, "ttft_slo_s is Tr"),
        ({"rates": [1], "servers": ["llama3.1_8b_h100"], "arrivals": [{}]}, "expected a name"),
        ({"x" * 10**6: 3}, "no setting of a sweep is called 'xxx"),
    ],
)
def test_settings_of_wrong_types(tmp_path, change, message):
    assert message in message_of(js.run_sweep, {**GRID, **change}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_worst_case_too_large_to_be_built():
    assert "expected less: the worst case of fcfs would have" in message_of(
        js.workloads.worst_case, "fcfs", 2**31 - 1
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("discipline = {a = 1}", "discipline is {'a': 1}; expected one of"),
        ("keep = 1979-05-27", "keep is datetime.date(1979, 5, 27); ex"),
        ("keep = " + "[" * 100_000, "is not TOML: it is nested too deeply"),
        ('"keep" = "moments"\nkeep = "moments"', "is not TOML: Cannot overwrite a value"),
    ],
)
def test_the_command_names_the_toml_file(run, tmp_path, text, message):
    path = tmp_path / "small.toml"
    path.write_text(f"{TOML.replace('discipline = ', '# ')}\n{text}\n")
    code, out, err = run("sweep", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"jaxsched: error: {path}: ")
    assert message in err
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("grid",), None, "lacks 'grid'; expected versions, device, grid"),
        (("grid",), [], "grid is []; expected a table"),
        (("grid", "rules"), None, "grid lacks 'rules'"),
        (("grid", "rules"), [3], "grid.rules[0] is 3; expected a table"),
        (("grid", "rules"), [{"nme": "fcfs"}], "grid.rules[0] lacks 'name'"),
        (("grid", "workloads"), [{"name": True}], "grid.workloads[0].name is True; expected t"),
        (("grid", "workloads"), [{"name": "worst_case"}], "grid: worst_case() missing 1"),
        (("grid", "num_requests"), [-3], "grid.num_requests[0] is -3; expected an integer"),
        (("grid", "num_requests"), ["12"], "grid.num_requests[0] is '12'; expected an integer"),
        (("grid", "num_instances"), 10**18, "grid: num_instances is 1000000000000000000; ex"),
        (("grid", "kv_capacity"), ["lots"], "grid.kv_capacity[0] is 'lots'; expected tokens"),
        (("grid", "keep"), 3, "grid.keep is 3; expected text"),
        (("grid", "settings"), [3], "grid.settings is [3]; expected a table"),
        (("grid", "settings"), {"policy": []}, "grid.settings.policy is []; expected a list of"),
        (("versions",), 3, "versions is 3; expected a table"),
        (("device", "platform"), None, "device lacks 'platform'"),
        (("shards",), [1], "shards is [1]; expected a table"),
        (("shards", "shard-000000.parquet"), {"sha256": 3, "wall_s": 1}, "parquet.sha256 is 3"),
    ],
)
def test_a_manifest_of_wrong_fields(folder, place, value, message):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    if value is None:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    path.write_text(json.dumps(content))
    found = message_of(js.load_sweep, folder)
    assert found.startswith(f"{path}: ")
    assert message in found
    assert found.endswith(REMEDY)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "\x00", "3"])
def test_a_manifest_that_is_none(folder, content):
    path = folder / "manifest.json"
    path.write_text(content)
    for call in (js.load_sweep, js.sweeps.is_finished, lambda folder: js.run_sweep(GRID, folder)):
        found = message_of(call, folder)
        assert found.startswith(f"{path}: ")
        assert found.endswith(REMEDY)


def table_of(path, metadata):
    from pyarrow import parquet

    table = parquet.read_table(path)
    parquet.write_table(table.replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"jaxsched": "[]"},
        {"jaxsched": "[" * 10**5},
        {"jaxsched": b"\xff"},
        {"jaxsched": '{"sha256": 3, "wall_s": 1}'},
        {"jaxsched": '{"sha256": "3", "wall_s": 1}'},
    ],
)
def test_a_part_whose_label_is_damaged(folder, metadata):
    path = folder / "shard-000000.parquet"
    table_of(path, metadata)
    assert message_of(js.load_sweep, folder).startswith(f"{path}: damaged, its rows are not")


def test_a_part_of_many_more_rows_is_not_read(folder, monkeypatch):
    import pyarrow as pa
    from pyarrow import parquet

    path = folder / "shard-000000.parquet"
    label = parquet.read_schema(path).metadata
    table = pa.table({"instance": np.zeros(10**6, np.int64)}).replace_schema_metadata(label)
    parquet.write_table(table, path)
    monkeypatch.setattr(parquet, "read_table", None)
    assert message_of(js.load_sweep, folder).startswith(f"{path}: damaged")
