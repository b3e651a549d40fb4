"""The command calibrate, and the file it writes as a --server."""

import json

import pytest

import jaxsched as js
from tests.servers.plain_engine import CAPACITY, log_lines, steps
from tests.servers.test_calibrate import SHAPES, bench, coefficients

STREAMS = ["--workload", "chat", "--requests", "20", "--streams", "3", "--rate", "40"]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "engine.log"
    path.write_text("\n".join(log_lines(steps())))
    return path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "bench.csv"
    columns = bench(SHAPES)
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    return path


def test_a_log_becomes_a_server(run, log, tmp_path):
    files = [tmp_path / name for name in ("mine.json", "out.json", "out.png")]
    code, out, err = run(
        *("calibrate", files[0], "--log", log, "--json", files[1], "--plot", files[2])
    )
    assert (code, err) == (0, "")
    found = js.calibrate.fit_log(log)
    assert out.startswith(str(found))
    assert f"--server {files[0]} uses it" in out
    assert coefficients(js.servers.load(files[0]).clock) == coefficients(found.clock)
    assert json.loads(files[1].read_text())["num_shapes"] == found.num_shapes
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_a_table_becomes_a_server_that_needs_a_capacity(run, table, tmp_path):
    path = tmp_path / "mine.json"
    flags = ["--bench", table, "--max-num-batched-tokens", 8192]
    code, out, err = run("calibrate", path, *flags)
    assert (code, err) == (0, "")
    assert "it says no KV capacity" in out
    code, _, err = run("compare", "--server", path, "--requests", 5, "--policies", "fcfs")
    assert code == 2
    assert f"{path}: says no KV capacity; give --capacity N" in err
    assert run("calibrate", path, *flags, "--capacity", "5,000")[0] == 0
    assert js.servers.load(path).kv_capacity == 5000


def test_commands_take_the_file_as_a_server(run, log, tmp_path):
    path = tmp_path / "mine.json"
    run("calibrate", path, "--log", log)
    code, out, _ = run("serve", "--server", path, *STREAMS, "--json", "-")
    assert code == 0
    written = json.loads(out)
    small = ["--workload", "chat", "--requests", 20, "--instances", 3, "--policies", "fcfs"]
    code, text, _ = run("compare", "--server", path, *small)
    assert code == 0
    assert f"KV capacity {CAPACITY:,} tokens, from {path}" in text
    assert "rules" in written


@pytest.mark.filterwarnings("default")
def test_steps_beyond_the_fit_are_warned_of_once(run, tmp_path):
    path = tmp_path / "mine.json"
    box = js.clock.FittedBox(4096, 1, 10**6)
    clock = js.clock.LinearClock(5.0, 0.02, 0.01, 4e-5, 0.0, box=box)
    js.servers.save(path, clock, kv_capacity=50_000)
    code, _, err = run("serve", "--server", path, *STREAMS)
    assert code == 0
    assert err.count("some steps take in more than 1 decoding requests") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --log FILE or --bench FILE, one of them"),
        (["--log", "a", "--bench", "b"], "give --log FILE or --bench FILE, one of them"),
        (["--bench", "b", "--block-size", 8], "--block-size is about a --log"),
        (["--log", "a", "--max-num-batched-tokens", 8], "--max-num-batched-tokens is about --ben"),
        (["--log", "a", "--capacity", 0], "--capacity is '0'; expected an integer >= 1"),
        (["--log", "nowhere"], "nowhere: No such file or directory"),
    ],
)
def test_what_cannot_be_is_one_line(run, tmp_path, arguments, message):
    code, _, err = run("calibrate", tmp_path / "mine.json", *arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert message in err


def test_a_log_without_a_capacity_asks_for_the_option(run, log, tmp_path):
    log.write_text("\n".join(log.read_text().splitlines()[1:]))
    code, _, err = run("calibrate", tmp_path / "mine.json", "--log", log)
    assert code == 2
    assert err.startswith("jaxsched: error: --capacity is missing, and")


def test_other_names_of_files_are_refused(run, log, tmp_path):
    code, _, err = run("calibrate", tmp_path / "mine.txt", "--log", log)
    assert code == 2
    assert "expected a file name that ends in .json" in err
