"""Sweeps: what they compute, that they resume wherever they are killed, what they refuse."""

import json
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.cli import main

pd = pytest.importorskip("pandas", reason="sweeps need the extra sweep")
pytest.importorskip("pyarrow", reason="sweeps need the extra sweep")

GRID = {
    "workloads": ["chat", {"name": "mixed", "exact_counts": True}],
    "num_requests": [12],
    "kv_capacity": [4200, 8400],
    "rules": ["fcfs", "smallest_volume"],
    "num_instances": 3,
    "seed": 7,
}
TOML = """
workloads = ["chat", {name = "mixed", exact_counts = true}]
num_requests = [12]
kv_capacity = [4200, 8400]
rules = ["fcfs", "smallest_volume"]
num_instances = 3
seed = 7
"""
# Counts what Python calls inside the sweep and its file writing, and kills itself at one of them.
KILLED = """
import json, os, signal, sys
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[3])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
import jaxsched as js
count, fatal = 0, int(sys.argv[2])
def profile(frame, event, argument):
    global count
    if "sweeps" in frame.f_code.co_filename or "writing" in frame.f_code.co_filename:
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(profile)
js.run_sweep(json.loads(sys.argv[4]), sys.argv[1])
sys.setprofile(None)
print(count)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return js.run_sweep(GRID, tmp_path_factory.mktemp("sweep"))


def test_rows_are_those_of_compare_on_the_same_instances(finished):
    table = js.load_sweep(finished)
    assert len(table) == 2 * 2 * 2 * 3
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(7), jnp.arange(3))
    for kv_capacity in GRID["kv_capacity"]:
        inst = js.stack([js.workloads.chat(key, 12, kv_capacity=kv_capacity) for key in keys])
        found = js.compare(inst, GRID["rules"])
        for rule in GRID["rules"]:
            is_here = (table.workload == "chat") & (table.kv_capacity == kv_capacity)
            rows = table[is_here & (table.rule == rule)]
            assert rows.instance.tolist() == [0, 1, 2]
            for metric, values in found.metrics[rule].items():
                np.testing.assert_array_equal(rows[metric], values, err_msg=metric)


def test_moments_and_xarray_say_the_same(finished):
    table = js.load_sweep(finished)
    moments = js.load_sweep(finished, "moments")
    cube = js.load_sweep(finished, "xarray")
    assert cube["gap"].dims == ("workload", "num_requests", "kv_capacity", "rule", "instance")
    assert cube["rule"].values.tolist() == GRID["rules"]
    assert cube["workload"].values.tolist() == ["chat", "mixed(exact_counts=True)"]
    cell = ("mixed(exact_counts=True)", 12, 8400, "smallest_volume")
    values = table[
        (table[["workload", "num_requests", "kv_capacity", "rule"]] == list(cell)).all(axis=1)
    ]["gap"].to_numpy()
    assert len(values) == 3
    np.testing.assert_array_equal(cube["gap"].loc[cell], values)
    assert moments.loc[cell, ("gap", "mean")] == pytest.approx(values.mean(), rel=1e-12)
    assert moments.loc[cell, ("gap", "count")] == 3


def test_a_finished_sweep_is_left_alone_and_a_missing_shard_comes_back(tmp_path):
    folder = js.run_sweep(GRID, tmp_path)
    before = js.load_sweep(folder)
    content = json.loads((folder / "manifest.json").read_text())
    assert content["grid"]["seed"] == 7
    assert set(content) >= {"versions", "device", "seed", "wall_s", "sha256", "shards"}
    names = sorted(content["shards"])
    kept = {name: (folder / name).stat().st_mtime_ns for name in names}
    (folder / names[1]).unlink()
    with pytest.raises(ValueError, match="1 of 4 shards are missing; run the sweep again"):
        js.load_sweep(folder)
    js.run_sweep(GRID, folder)
    for name in names:
        assert (folder / name).stat().st_mtime_ns == kept[name] or name == names[1]
    pd.testing.assert_frame_equal(js.load_sweep(folder), before, check_exact=True)
    assert json.loads((folder / "manifest.json").read_text())["sha256"] == content["sha256"]


@pytest.mark.slow
@pytest.mark.parametrize("num_kills", [1, 20], ids="{}_kills".format)
def test_killed_anywhere_it_resumes_to_the_same_table(tmp_path, finished, num_kills, pytestconfig):
    def run(folder, fatal):
        cache = jax.config.jax_compilation_cache_dir
        return subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(fatal), cache, json.dumps(GRID)],
            env={**os.environ, "PYTHONPATH": str(pytestconfig.rootpath)},
            capture_output=True,
            text=True,
            check=False,
        )

    whole = run(tmp_path / "whole", 0)
    num_events = int(whole.stdout)
    expected = js.load_sweep(finished)
    pd.testing.assert_frame_equal(js.load_sweep(tmp_path / "whole"), expected, check_exact=True)
    generator = np.random.default_rng(num_kills)
    folder, left = tmp_path / "killed", []
    for number in range(num_kills):
        if number % 4 == 0:
            folder = tmp_path / f"killed_{number}"
        fatal = int(generator.integers(1, num_events // 2))
        code = run(folder, fatal).returncode
        assert code in (0, -signal.SIGKILL)
        left.append(code)
        if number % 4 == 3 or number == num_kills - 1:
            js.run_sweep(GRID, folder)
            pd.testing.assert_frame_equal(js.load_sweep(folder), expected, check_exact=True)
            assert not list(folder.glob(".*.parquet"))
    assert -signal.SIGKILL in left


def test_another_grid_does_not_mix_with_old_shards(finished):
    for change, message in (
        ({"seed": 8}, "other seed: seed was 7, now 8"),
        (
            {"rules": ["fcfs"], "num_instances": 4},
            "other num_instances, rules: num_instances was 3, now 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            js.run_sweep({**GRID, **change}, finished)


@pytest.mark.slow
def test_moments_kept_are_those_of_the_instances(tmp_path):
    # 22,000 instances of 12 requests are two shards.
    grid = {**GRID, "workloads": ["chat"], "kv_capacity": [4200], "num_instances": 22_000}
    folder = js.run_sweep(grid, tmp_path / "instances")
    rows, table = js.load_sweep(folder), js.load_sweep(folder, "moments")
    kept = js.run_sweep({**grid, "keep": "moments"}, tmp_path / "moments")
    assert len(list(kept.glob("shard-*.parquet"))) == 2
    assert sum(path.stat().st_size for path in kept.iterdir()) < 100_000
    for form in ("pandas", "moments"):
        pd.testing.assert_frame_equal(js.load_sweep(kept, form), table, check_exact=True)
    cell = ("chat", 12, 4200, "fcfs")
    values = rows[rows.rule == "fcfs"]["mean_latency_rounds"]
    for moment in ("mean", "std", "min", "max", "count"):
        expected = values.agg(moment)
        assert table.loc[cell, ("mean_latency_rounds", moment)] == pytest.approx(expected, 1e-12)
    cube = js.load_sweep(kept, "xarray")["mean_latency_rounds"]
    assert cube.dims == ("workload", "num_requests", "kv_capacity", "rule", "moment")
    assert cube.loc[(*cell, "max")] == values.max()


def test_a_damaged_shard_is_named_and_comes_back(tmp_path):
    folder = js.run_sweep(GRID, tmp_path)
    before = js.load_sweep(folder)
    first, second = folder / "shard-000001.parquet", folder / "shard-000002.parquet"
    whole = first.read_bytes()
    for content in (whole[: len(whole) // 2], b"", second.read_bytes()):
        first.write_bytes(content)
        with pytest.raises(ValueError, match=f"{first.name}: damaged, .*; delete it and run"):
            js.load_sweep(folder)
    first.unlink()
    js.run_sweep(GRID, folder)
    pd.testing.assert_frame_equal(js.load_sweep(folder), before, check_exact=True)


@pytest.mark.parametrize("name", ["jax", "numpy", "jaxsched"])
def test_other_versions_do_not_mix(tmp_path, finished, name):
    content = json.loads((finished / "manifest.json").read_text())
    content["versions"][name] = "0.0.1"
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"made with something else: {name} was 0.0.1, now "):
        js.run_sweep(GRID, tmp_path)


def test_nothing_forks(tmp_path, monkeypatch):
    """A process that is forked once jax has run may wait for a lock that no thread gives back."""

    def fork():
        raise AssertionError

    monkeypatch.setattr(os, "fork", fork)
    monkeypatch.setattr(os, "forkpty", fork)
    js.run_sweep({**GRID, "workloads": ["chat"], "kv_capacity": [4200]}, tmp_path)
    assert len(js.load_sweep(tmp_path)) == 2 * 3


@pytest.mark.slow
def test_workloads_that_settle_axes_themselves(tmp_path):
    worst = {"name": "worst_case", "rule": "fcfs"}
    grid = {**GRID, "workloads": ["uniform", worst], "kv_capacity": [16, 64], "num_instances": 2}
    table = js.load_sweep(js.run_sweep(grid, tmp_path))
    cells = table.groupby(["workload", "num_requests", "kv_capacity", "rule"], sort=False).size()
    assert dict(cells) == {
        **{("uniform", 0, 0, rule): 2 for rule in GRID["rules"]},
        **{("worst_case(rule=fcfs)", 20, 16, rule): 1 for rule in GRID["rules"]},
        **{("worst_case(rule=fcfs)", 72, 64, rule): 1 for rule in GRID["rules"]},
    }
    found = js.compare(js.workloads.worst_case("fcfs", 64), ["fcfs"]).metrics["fcfs"]
    rows = table[(table.kv_capacity == 64) & (table.rule == "fcfs")]
    assert rows["mean_latency_rounds"].tolist() == [float(found["mean_latency_rounds"])]


def test_the_capacity_of_a_server(tmp_path):
    server = "llama2_70b_2xa100"
    tokens = js.clock.PRESET_KV_CAPACITY[server]
    grid = {**GRID, "servers": [server], "kv_capacity": [tokens, "server", 4200]}
    table = js.load_sweep(js.run_sweep(grid, tmp_path))
    assert len(table) == 2 * 2 * 2 * 3  # the same capacity twice is one cell
    assert table.kv_capacity.unique().tolist() == [tokens, 4200]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"workload": ["chat"]},
            "no setting of a sweep is called 'workload'; did you mean 'workloads'",
        ),
        ({"workloads": ["chart"]}, "no workload is called 'chart'; did you mean 'chat'"),
        ({"rules": ["smalest_volume"]}, "did you mean 'smallest_volume'"),
        ({"rules": []}, "expected a list that is not empty"),
        ({"rules": ["fcfs", "fcfs"]}, r"rules\[1\] is .* which is there already"),
        ({"num_requests": [0]}, r"num_requests\[0\] is 0; expected an integer from 1"),
        ({"kv_capacity": [4200, 100]}, "kv_capacity is 100; expected at least 1098"),
        ({"workloads": [{"name": "chat", "mean": 3}]}, r"workloads\[0\]: .*'mean'"),
        ({"bound": "volum"}, "no bound is called 'volum'; did you mean 'volume'"),
        ({"discipline": "eager"}, "discipline is 'eager'; expected one of strict, earliest_fit"),
        ({"rules": [{"name": "fcfs", "weight": 2}]}, "rule 'fcfs' has no option 'weight'"),
        ({"servers": ["llama"]}, "no server is called 'llama'; did you mean"),
        ({"keep": "moment"}, "keep is 'moment'; did you mean 'moments'"),
        ({"kv_capacity": ["server"]}, '"server" needs servers, to say whose'),
        ({"kv_capacity": ["sever"]}, r"kv_capacity\[0\] is 'sever'; expected an integer from 1"),
        ({"kv_capacity": []}, r"kv_capacity is \[\]; expected a list that is not empty"),
        ({"workloads": ["worst_case"]}, r"workloads\[0\]: .*'rule'"),
        ({"workloads": [{"name": "worst_case", "rule": "fifo"}]}, "no worst case is called 'fifo'"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        js.run_sweep({**GRID, **change}, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_servers_add_seconds(tmp_path):
    grid = {**GRID, "servers": ["llama2_70b_2xa100"], "workloads": ["chat"]}
    table = js.load_sweep(js.run_sweep(grid, tmp_path), "moments")
    assert table.index.names == ["workload", "num_requests", "kv_capacity", "server", "rule"]
    assert (table["mean_latency_s"]["mean"] > 0).all()


def test_a_server_in_a_file_is_swept_as_by_compare(tmp_path):
    path = str(tmp_path / "mine.json")
    clock = js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0)
    js.servers.save(path, clock, 4200)
    grid = {**GRID, "workloads": ["chat"], "servers": [path], "kv_capacity": ["server"]}
    folder = js.run_sweep(grid, tmp_path / "out")
    os.remove(path)  # what is finished needs no file
    rows = js.load_sweep(folder)
    assert (rows.server.unique().tolist(), rows.kv_capacity.unique().tolist()) == ([path], [4200])
    keys = [jax.random.fold_in(jax.random.key(7), number) for number in range(3)]
    inst = js.stack([js.workloads.chat(key, 12, kv_capacity=4200) for key in keys])
    expected = js.compare(inst, ["fcfs"], clock=clock, bound=None).metrics["fcfs"]
    found = rows[rows.rule == "fcfs"]["mean_latency_s"]
    np.testing.assert_array_equal(found, expected["mean_latency_s"])


@pytest.mark.parametrize(
    "axis", ["servers", "rules", pytest.param("option", marks=pytest.mark.slow)]
)
def test_a_sweep_that_goes_on_refuses_a_file_that_changed(tmp_path, axis):
    path = str(tmp_path / "mine.json")

    def save(number):
        if axis == "servers":
            js.servers.save(path, js.clock.LinearClock(number, 0.02, 0.01, 4e-5, 0.0))
        else:
            js.policies.save(js.policies.linear_score(["log_output"], [number]), path)

    entries = {
        "servers": {"servers": [path]},
        "rules": {"rules": [f"file:{path}"]},
        "option": {"rules": [{"name": "improve", "start": f"file:{path}"}]},
    }
    grid = {**GRID, "workloads": ["chat"], "kv_capacity": [4200], **entries[axis]}
    save(6.0)
    folder = js.run_sweep(grid, tmp_path / "out")
    before = js.load_sweep(folder)
    (folder / "shard-000000.parquet").unlink()
    save(7.0)
    with pytest.raises(ValueError, match=f"out: {path} has changed since this sweep began"):
        js.run_sweep(grid, folder)
    save(6.0)
    js.run_sweep(grid, folder)
    pd.testing.assert_frame_equal(js.load_sweep(folder), before, check_exact=True)


def test_a_file_that_changes_while_a_sweep_runs_is_not_mixed(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    js.policies.save(js.policies.linear_score(["log_output"], [1.0]), path)
    make, made = js.policies.make, []

    def change(*names, **options):
        made.append(names)
        if len(made) == 2:  # the check has seen it, the first shard has not
            js.policies.save(js.policies.linear_score(["log_output"], [2.0]), path)
        return make(*names, **options)

    monkeypatch.setattr(js.policies, "make", change)
    grid = {**GRID, "workloads": ["chat"], "kv_capacity": [4200], "rules": [f"file:{path}"]}
    with pytest.raises(ValueError, match=r"mine.json: changed while the sweep ran; restore it"):
        js.run_sweep(grid, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_server_that_says_no_capacity_is_named(tmp_path):
    path = str(tmp_path / "mine.json")
    js.servers.save(path, js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0))
    grid = {**GRID, "servers": [path], "kv_capacity": ["server"]}
    with pytest.raises(ValueError, match=f"{path}: says no KV capacity; give numbers"):
        js.run_sweep(grid, tmp_path / "out")
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(ValueError, match=f"{path}: is no server"):
        js.run_sweep(grid, tmp_path / "out")
    os.remove(path)
    with pytest.raises(FileNotFoundError):
        js.run_sweep(grid, tmp_path / "out")


def test_the_command_runs_the_same_sweep(tmp_path, finished, capsys):
    config = tmp_path / "small.toml"
    config.write_text(TOML)
    assert main(["sweep", str(config), "--dry-run"]) == 0
    assert "8 cells, 24 simulations in 4 shards" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]
    assert main(["sweep", str(config)]) == 0
    expected = js.load_sweep(finished)
    pd.testing.assert_frame_equal(js.load_sweep(tmp_path / "small"), expected, check_exact=True)


def test_the_command_names_the_file_that_is_no_toml(tmp_path, capsys):
    config = tmp_path / "bad.toml"
    config.write_text("rules = [")
    assert main(["sweep", str(config)]) == 2
    assert f"error: {config}: " in capsys.readouterr().err


def test_the_command_names_keys_of_the_file_rather_than_options(tmp_path, capsys):
    config = tmp_path / "bad.toml"
    config.write_text(
        'workloads = ["chat"]\nnum_requests = [0]\nkv_capacity = [1200]\nrules = ["svf"]'
    )
    assert main(["sweep", str(config)]) == 2
    assert f"error: {config}: num_requests[0] is 0; expected" in capsys.readouterr().err
