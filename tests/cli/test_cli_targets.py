"""Where the command line writes to, and options that it refuses before any work."""

import json
import os
import subprocess
import sys
import threading

import pytest

import jaxsched as js
from tests.conftest import ROOT

SMALL = ["--workload", "chat", "--requests", "20", "--instances", "3"]
RULES = ["--policies", "fcfs,svf"]
PNG = b"\x89PNG"
BEGINNINGS = {"json": b"{", "csv": b"rule,", "plot": PNG}


def piped(pipe):
    """Read a pipe until its writer leaves."""
    os.mkfifo(pipe)
    read = []
    thread = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    thread.start()
    return thread, read


@pytest.mark.parametrize(
    "kinds",
    [
        {"json": "link", "csv": "device", "plot": "pipe"},
        pytest.param({"json": "pipe", "csv": "link", "plot": "device"}, marks=pytest.mark.slow),
        pytest.param({"json": "device", "csv": "pipe", "plot": "link"}, marks=pytest.mark.slow),
    ],
)
def test_devices_pipes_and_links_stay_what_they_are(run, tmp_path, kinds):
    option = {kind: option for option, kind in kinds.items()}
    pipe = tmp_path / "pipe"  # without a suffix
    thread, read = piped(pipe)
    name = "kept.png" if option["link"] == "plot" else "kept"
    link, kept = tmp_path / f"link_{name}", tmp_path / name
    link.symlink_to(name)
    targets = {"pipe": pipe, "link": link, "device": "/dev/null"}
    flags = [each for kind in targets for each in (f"--{option[kind]}", targets[kind])]
    assert run("compare", *SMALL, *RULES, *flags)[::2] == (0, "")
    thread.join(timeout=30)
    assert read[0].startswith(BEGINNINGS[option["pipe"]])
    assert kept.read_bytes().startswith(BEGINNINGS[option["link"]])
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert not os.path.isfile("/dev/null")


def test_a_schedule_goes_to_a_pipe_and_through_a_link(run, tmp_path):
    thread, read = piped(tmp_path / "pipe.npz")
    assert run("simulate", *SMALL, "--save", tmp_path / "pipe.npz")[0] == 0
    thread.join(timeout=30)
    link, kept = tmp_path / "link.npz", tmp_path / "kept.npz"
    link.symlink_to(kept)
    assert run("simulate", *SMALL, "--save", link)[0] == 0
    assert run("simulate", *SMALL, "--save", "/dev/null")[0] == 0
    copied = tmp_path / "copied.npz"
    copied.write_bytes(read[0])
    first, second = js.Schedule.load(kept), js.Schedule.load(copied)
    assert (first.start == second.start).all()
    assert link.is_symlink()


def as_csv(text):
    assert text.startswith(BEGINNINGS["csv"])


@pytest.mark.parametrize(
    ("flags", "read"),
    [
        pytest.param(["--json", "/dev/stdout"], json.loads, marks=pytest.mark.slow),
        pytest.param(["--csv", "/dev/fd/1"], as_csv, marks=pytest.mark.slow),
    ],
)
def test_stdout_as_a_file_carries_nothing_else(flags, read):
    arguments = [*SMALL, *RULES, *flags, "--plot", "/dev/null"]
    command = [sys.executable, "-m", "jaxsched", "compare", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0
    read(done.stdout)
    assert b"svf" in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--plot", "out"], "--plot out: expected a file name that ends in ."),
        (["--plot", "out.doc"], "--plot out.doc: expected a file name that ends in ."),
        (["--json", "."], "--json .: is a folder; expected a file"),
        (["--csv", "none/out.csv"], "there is no folder"),
        (["--csv", "astray.csv"], "there is no folder"),
        (["--json", "loop"], "--json loop: cannot be written: Too many levels of symbolic links"),
        (["--json", "/proc/none.json"], "--json /proc/none.json: cannot be written: "),
        (["--json", "a.out", "--csv", "./a.out"], "--csv a.out: --json is the same file; give ano"),
        (["--json", "a.out", "--csv", "same"], "--csv same: --json is the same file"),
        (["--csv", "trace.csv"], "--csv trace.csv: the command reads it, as --trace; give another"),
        (["--plot", "link.svg"], "--plot link.svg: the command reads it, as --trace"),
        (["--csv", "rule.json"], "--csv rule.json: the command reads it, as --policies"),
    ],
)
def test_targets_that_cannot_be_written_are_refused_at_once(
    run, tmp_path, monkeypatch, flags, message
):
    monkeypatch.chdir(tmp_path)
    links = {"astray.csv": "none/there.csv", "loop": "loop", "same": "a.out"}
    for name, target in (links | {"link.svg": "trace.csv"}).items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "trace.csv").write_text("num_prefill_tokens,num_decode_tokens\n3,2\n")
    (tmp_path / "rule.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(js, "compare", None)
    rules = ["--policies", "fcfs,file:rule.json"]
    code, out, err = run("compare", "--trace", "trace.csv", *rules, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "trace.csv").read_text().endswith("3,2\n")


def test_outputs_may_share_a_device(run):
    flags = ["--json", "/dev/null", "--csv", "/dev/null"]
    assert run("simulate", *SMALL, *flags)[::2] == (0, "")


@pytest.mark.parametrize("target", ["/dev/null", "file"])
def test_a_sweep_goes_to_a_folder(run, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "grid.toml").write_text("")
    code, out, err = run("sweep", "grid.toml", "--out", target)
    assert (code, out) == (2, "")
    assert (
        err
        == f"jaxsched: error: --out {target}: is no folder; expected a new one or that of a sweep\n"
    )


def test_a_full_device_is_named(run):
    code, _, err = run("simulate", *SMALL, "--json", "/dev/full")
    assert (code, err) == (2, "jaxsched: error: /dev/full: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["improve", "--instances", "0"], "--instances is 0; expected an integer >= 1"),
        (["improve", "--requests", "40000"], "improve takes at most 32768"),
        (["improve", "--steps", "1" + "0" * 23], "--steps is 1" + "0" * 23 + "; expected an int"),
        (["improve", "--steps", "0"], "--steps is 0; expected an integer from 1"),
        (["improve", "--chains", "0"], "--chains is 0; expected an integer from 1"),
        (["improve", "--chains", "1000000"], "--chains is 1000000, which makes"),
        (["tune", "r.json", "--steps", "1" + "0" * 23, *SMALL], "--steps is 1"),
        (["bound", "--instances", "0"], "--instances is 0; expected an integer >= 1"),
        (["compare", "--requests", "0"], "--requests is 0; expected an integer >= 1"),
        (["simulate", "--max-num-seqs", "0", *SMALL], "--max-num-seqs is 0; expected int"),
        (["simulate", "--seed", "1" + "0" * 23], "--seed is 1"),
    ],
)
def test_numbers_out_of_range_are_refused_before_any_work(run, monkeypatch, arguments, message):
    for verb in ("improve", "compare"):
        monkeypatch.setattr(js, verb, None)
    monkeypatch.setattr(js.bounds, "price", None)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_trace_too_long_to_be_searched_is_refused_before_any_work(run, tmp_path, monkeypatch):
    path = tmp_path / "long.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n" + "3,2\n" * 32769)
    monkeypatch.setattr(js, "simulate", None)
    code, _, err = run("improve", "--trace", path)
    assert code == 2
    assert "the instance has 32769 requests; improve takes at most 32768" in err


class TestMarkup:
    """Square brackets are markup to rich, which prints the tables."""

    def test_in_paths(self, run, tmp_path):
        folder = tmp_path / "["
        folder.mkdir()
        files = [folder / "x].json", folder / "[red].csv", folder / "].png"]  # [/x], [/]
        flags = ["--json", files[0], "--csv", files[1], "--plot", files[2]]
        code, out, err = run("compare", *SMALL, *RULES, *flags)
        assert (code, err) == (0, "")
        for file in files:
            assert f"saved to {file}\n" in out
            assert file.exists()

    def test_in_names_of_traces_and_rules(self, run, tmp_path):
        (tmp_path / "[").mkdir()
        path = tmp_path / "[" / "bold] [red].csv"
        path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,3,2\n1,1,4\n")
        code, out, _ = run("trace", path)
        assert code == 0
        assert str(path) in out
        js.policies.register("[/x] [red]a", js.policies.fcfs)
        code, out, _ = run("compare", "--trace", path, "--policies", "[/x] [red]a,svf")
        assert code == 0
        assert "[/x] [red]a" in out
        inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
        found = js.compare(inst, ["[/x] [red]a", "svf"], baseline="[/x] [red]a", bound=None)
        assert "vs [/x] [red]a" in str(found)

    def test_in_errors(self, run, tmp_path):
        code, _, err = run("compare", "--trace", tmp_path / "[/x].csv")
        assert code == 2
        assert f"{tmp_path}/[/x].csv: No such file" in err
