"""The command ``capacity``, as a user meets it."""

import functools
import json

import jax
import pytest

import jaxsched as js

SMALL = ["--workload", "chat", "--requests", 20, "--instances", 3]


@pytest.fixture
def run(run):
    return functools.partial(run, "capacity")


def test_prints_and_saves_what_the_library_finds(run, tmp_path):
    files = tmp_path / "plan.json", tmp_path / "plan.png"
    flags = ["--target", "mean=300", "--json", files[0], "--plot", files[1], "--seed", 5]
    code, out, err = run(*SMALL, *flags)
    plan = js.plan_capacity(
        js.workloads.chat(jax.random.key(5), 20, batch=3),
        ["fcfs", "smallest_volume"],
        ("mean", 300),
    )
    assert (code, err) == (0, "")
    shown = [line.rstrip() for line in out.splitlines()]
    assert shown[: len(str(plan).splitlines())] == str(plan).splitlines()
    found = json.loads(files[0].read_text())
    assert found.pop("manifest")["seed"] == 5
    assert found == json.loads(json.dumps(plan.to_dict()))
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_servers_of_a_preset_in_seconds(run):
    code, out, _ = run(
        *(*SMALL, "--target", "makespan=30", "--vary", "servers", "--policies", "svf"),
        *("--server", "llama2_70b_2xa100", "--capacity", "server"),
    )
    assert code == 0
    assert "53248 KV tokens a server; makespan at most 30 seconds" in " ".join(out.split())


def test_servers_in_files_are_tried(run, tmp_path):
    path = tmp_path / "mine.json"
    js.servers.save(path, js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0), 20_000)
    flags = ["--target", "mean=60", "--vary", "preset", "--policies", "svf", "--json", "-"]
    code, out, _ = run(*SMALL, *flags, "--server", f"llama3.1_8b_h100, {path}")
    assert code == 0
    assert json.loads(out)["rules"]["svf"]["capacity"] == str(path)


def test_a_trace_may_hold_requests_of_any_length(run, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n50000,2\n10,4\n")
    code, out, _ = run("--trace", path, "--target", "mean=4", "--policies", "svf")
    assert code == 0
    assert "50,014" in out  # both at once, in round 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target", "mean"], "--target is 'mean'; expected a metric and a number"),
        (["--target", "mean=1"], "never meets the target: mean latency at most 1 rounds"),
        (["--target", "mean=400", "--capacity", "9"], "--capacity is what is looked for"),
        (
            ["--target", "mean=4", "--vary", "preset", "--server", "llama3_8b_a100,qwen"],
            "no server is called 'qwen'",
        ),
        (["--target", "mean=4", "--tolerance", "0"], "--tolerance is 0; expected"),
        (["--target", "mean=4", "--vary", "sever"], "--vary is 'sever'; did you mean"),
    ],
)
def test_bad_input_is_one_line(run, flags, message):
    code, out, err = run(*SMALL, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
