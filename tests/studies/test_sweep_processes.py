"""One sweep by several processes that share a folder and nothing else."""

import json
import os
import signal
import socket
import subprocess
import sys

import jax
import pytest

import jaxsched as js
from tests.studies.test_sweeps import TOML

pd = pytest.importorskip("pandas", reason="sweeps need the extra sweep")
pytest.importorskip("pyarrow", reason="sweeps need the extra sweep")

# Enough instances for four devices to have a share of each call.
CONFIG = TOML.replace("num_instances = 3", 'num_instances = 2500\nkeep = "moments"')
COMMAND = """
import os, sys
import jax
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
from jaxsched.cli import main
from jaxsched.studies.sweeps import _files
if sys.argv[2] == "kill":  # in the middle of its second shard
    write, written = _files.write_shard, []
    def write_or_end(*args):
        if written:
            os.kill(os.getpid(), 9)
        written.append(write(*args))
    import jaxsched.studies.sweeps._run
    _files.write_shard = write_or_end
code = main(sys.argv[3:])
assert jax.local_device_count() == 4
assert jax.device_count() == 8
sys.exit(code)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def expected(config, tmp_path_factory):
    from jaxsched.cli import main

    folder = tmp_path_factory.mktemp("one_process")
    assert main(["sweep", str(config), "--out", str(folder)]) == 0
    return js.load_sweep(folder)


def start(config, folder, process_id, port, fate, root):
    """Start one of two processes, each over four virtual devices."""
    places = "--coordinator", f"127.0.0.1:{port}", "--num-processes", "2"
    arguments = "sweep", str(config), "--out", str(folder), "--distributed", *places
    cache = jax.config.jax_compilation_cache_dir
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, cache, fate, *arguments, "--process-id", str(process_id)],
        env={
            **os.environ,
            "PYTHONPATH": str(root),
            "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_two(config, folder, root, fates=("live", "live")):
    """Run both; exit codes, output and errors of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pair = [start(config, folder, number, port, fate, root) for number, fate in enumerate(fates)]
    try:
        ended = [each.communicate(timeout=240) for each in pair]
    finally:
        for each in pair:
            each.kill()
    return [(each.returncode, *texts) for each, texts in zip(pair, ended, strict=True)]


@pytest.mark.parametrize("process_id", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_processes_that_nobody_joins_give_up(tmp_path, config, pytestconfig, process_id):
    with socket.socket() as free:  # a port that is closed
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    places = "--coordinator", place, "--num-processes", "2", "--process-id", str(process_id)
    flags = "--distributed", *places, "--timeout-s", "1"
    folder = tmp_path / "sweep"
    ended = subprocess.run(
        [sys.executable, "-m", "jaxsched", "sweep", str(config), "--out", str(folder), *flags],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    waiting, error = ended.stderr.splitlines()
    assert waiting == f"waiting up to 1 s for all 2 processes to meet at {place}"
    assert error.startswith(f"jaxsched: error: waited 1 s for all 2 processes to meet at {place}")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distributed", "--coordinator", "here"], "--coordinator is 'here'; expected HOST:PORT"),
        (["--distributed", "--coordinator", "a:0"], "--coordinator is 'a:0'; expected HOST:PORT"),
        (["--distributed", "--coordinator", "a:99999"], "--coordinator is 'a:99999'; expected"),
        (["--distributed", "--num-processes", "0"], "--num-processes is 0; expected an integer"),
        (["--distributed", "--num-processes", "2", "--process-id", "2"], "--process-id is 2; exp"),
        (["--distributed", "--timeout-s", "0"], "--timeout-s is 0; expected an integer >= 1"),
        (["--timeout-s", "3"], "and --timeout-s go with --distributed"),
        (["--process-id", "3"], "--process-id and --timeout-s go with --distributed"),
    ],
)
def test_places_that_make_no_sense(run, config, flags, message):
    code, out, err = run("sweep", config, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.slow
def test_two_processes_give_the_table_of_one(tmp_path, config, expected, pytestconfig):
    ended = run_two(config, tmp_path, pytestconfig.rootpath)
    assert [code for code, *_ in ended] == [0, 0], ended
    assert any("sweep saved to" in out for _, out, _ in ended)
    pd.testing.assert_frame_equal(js.load_sweep(tmp_path), expected, check_exact=True)
    assert len(json.loads((tmp_path / "manifest.json").read_text())["shards"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_leaves_the_others_shards(
    tmp_path, config, expected, pytestconfig, killed
):
    fates = ["live", "live"]
    fates[killed] = "kill"
    ended = run_two(config, tmp_path, pytestconfig.rootpath, fates)
    assert ended[killed][0] == -signal.SIGKILL
    there = sorted(path.name for path in tmp_path.glob("shard-*.parquet"))
    numbers = [killed, 1 - killed, 3 - killed]  # its first, and both of the other's
    assert there == sorted(f"shard-{number:06d}.parquet" for number in numbers)
    with pytest.raises(ValueError, match="1 of 4 shards are missing; run the sweep again"):
        js.load_sweep(tmp_path)
    ended = run_two(config, tmp_path, pytestconfig.rootpath)
    assert [code for code, *_ in ended] == [0, 0], ended
    pd.testing.assert_frame_equal(js.load_sweep(tmp_path), expected, check_exact=True)
