"""The command ``rate``, as a user meets it."""

import csv
import functools
import json

import jax
import pytest

import jaxsched as js

NAME = "llama3.1_8b_h100"
SMALL = ["--server", NAME, "--workload", "chat", "--requests", "20", "--streams", "3"]
TARGET = ["--ttft-slo-s", "0.05", "--policies", "fcfs"]


@pytest.fixture
def run(run):
    return functools.partial(run, "rate")


def drawn(rate):
    key = jax.random.key(0)
    inst = js.workloads.chat(key, 20, batch=3)
    return js.workloads.poisson(jax.random.fold_in(key, 1), inst, rate)


def test_prints_and_saves_what_the_library_finds(run, tmp_path):
    files = [tmp_path / name for name in ("out.json", "out.csv", "out.png")]
    flags = ["--json", files[0], "--csv", files[1], "--plot", files[2]]
    code, out, err = run(*SMALL, *TARGET, "--vary", "max-num-seqs=2,4", *flags)
    assert (code, err) == (0, "")
    server = js.servers.get(NAME)
    plan = js.plan_rate(
        drawn(1.0), server, "fcfs", vary={"max_num_seqs": [2, 4]}, ttft_slo_s=0.05, progress=False
    )
    found = json.loads(files[0].read_text())
    assert found["manifest"]["seed"] == 0
    assert [each["rate"] for each in found["results"]] == plan.value[0].tolist()
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["max_num_seqs"] for row in rows] == ["2", "4"]
    assert [float(row["low"]) for row in rows] == plan.interval.low[0].tolist()
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert "90% of requests: TTFT at most 0.05 s" in out
    assert f"{plan.value[0, 1]:.4g}" in out


def test_predictions_may_err_and_the_end_may_have_a_target(run):
    flags = ["--sigma", "0.7", "--e2e-slo-s", "0.5", "--policies", "smallest_volume"]
    code, out, err = run(*SMALL, *flags)
    assert (code, err) == (0, "")
    erring = js.workloads.predict(drawn(1.0), jax.random.fold_in(jax.random.key(0), 2), sigma=0.7)
    plan = js.plan_rate(erring, js.servers.get(NAME), "smallest_volume", e2e_slo_s=0.5)
    assert f"{plan.value[0, 0]:.4g}" in out
    assert "90% of requests: E2E at most 0.5 s" in out
    assert "predictions are off by a log-normal factor, --sigma 0.7 --seed 0" in out


def test_finds_servers_and_memory_at_a_rate(run):
    for find, search in (("servers", js.plan_servers), ("kv_capacity", js.plan_memory)):
        _, out, _ = run(*SMALL, *TARGET, "--find", find, "--rate", "900", "--json", "-")
        plan = search(drawn(900.0), js.servers.get(NAME), "fcfs", ttft_slo_s=0.05)
        (result,) = json.loads(out)["results"]
        assert result[find] == plan.value[0, 0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "3"], "--rate is what is looked for; leave it out, or --find servers"),
        (["--find", "servers"], "--rate is missing; say at what rate to --find servers"),
        (["--find", "seats"], "--find is 'seats'; expected one of rate, servers, kv_capacity"),
        (
            ["--find", "kv_capacity", "--rate", "3", "--capacity", "9"],
            "--capacity is what is looked for; leave it out",
        ),
        (["--vary", "max_num_seqs"], "--vary is 'max_num_seqs'; expected NAME=A,B such as"),
        (["--vary", "watermark=0", "--vary", "watermark=1"], "--vary names watermark twice"),
        (["--vary", "victim=nobody"], "victim[0] is 'nobody'; expected one of by_policy"),
        (["--attainment", "90"], "--attainment is 90.0; expected a share above 0 and at most 1"),
        (["--tpot-slo-s", "0"], "--tpot-slo-s is 0; expected a finite number of seconds"),
    ],
)
def test_bad_input_is_one_line(run, flags, message):
    code, out, err = run(*SMALL, *TARGET, *flags)
    assert code == 2
    assert out == ""
    assert err.startswith(f"jaxsched: error: {message}")
    assert err.count("\n") == 1


def test_a_target_is_needed(run):
    code, _, err = run(*SMALL)
    assert code == 2
    assert "--ttft-slo-s is missing, so there is no target" in err
