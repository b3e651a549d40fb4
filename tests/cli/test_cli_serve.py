"""The command ``serve``, as a user meets it."""

import csv
import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxsched as js
from tests.conftest import ROOT

NAME = "llama3.1_8b_h100"
SIZE = ["--requests", "20", "--streams", "3"]
SMALL = ["--server", NAME, "--workload", "chat", "--rate", "40", *SIZE]
RULES = ["--policies", "fcfs,smallest_volume"]
HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


@pytest.fixture
def run(run):
    return functools.partial(run, "serve")


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "week.csv"
    rows = [f"{0.05 * k**1.5},{30 + 7 * k % 90},{2 + 5 * k % 40}\n" for k in range(25)]
    path.write_text(HEADER + "".join(rows))
    return path


def drawn(seed):
    key = jax.random.key(seed)
    inst = js.workloads.chat(key, 20, batch=3)
    return js.workloads.poisson(jax.random.fold_in(key, 1), inst, 40.0)


def measured(reqs, rule, server=None, **targets):
    server = server or js.servers.get(NAME)
    return js.metrics.service_summary(reqs, js.serve(reqs, server, rule), server=server, **targets)


def means(out):
    return {
        rule: {metric: found["mean"] for metric, found in metrics.items()}
        for rule, metrics in json.loads(out)["rules"].items()
    }


def agree(found, expected):
    assert list(found) == list(expected)
    for metric, values in expected.items():
        np.testing.assert_allclose(found[metric], values.mean(), rtol=1e-12, err_msg=metric)


@pytest.mark.slow
def test_prints_and_saves_what_the_library_measures(run, tmp_path):
    files = [tmp_path / name for name in ("out.json", "out.csv", "out.png")]
    flags = ["--json", files[0], "--csv", files[1], "--plot", files[2], "--seed", 5]
    goals = ["--ttft-slo-s", "0.02", "--tpot-slo-s", "0.1"]
    code, out, err = run(*SMALL, *RULES, *goals, *flags)
    assert (code, err) == (0, "")
    expected = measured(drawn(5), "fcfs", ttft_slo_s=0.02, tpot_slo_s=0.1)
    found = json.loads(files[0].read_text())
    assert found["manifest"]["seed"] == 5
    assert (found["num_streams"], found["num_requests"]) == (3, 60)
    assert found["statuses"] == {"fcfs": {"OK": 60}, "smallest_volume": {"OK": 60}}
    agree(means(files[0].read_text())["fcfs"], expected)
    interval = found["rules"]["fcfs"]["mean_ttft_s"]
    assert interval["low"] < interval["mean"] < interval["high"]
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mean"] for row in rows if row["metric"] == "p99_e2e_s"] == [
        str(found["rules"][rule]["p99_e2e_s"]["mean"]) for rule in ("fcfs", "smallest_volume")
    ]
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert out.splitlines()[0].startswith("KV capacity 384,000 tokens in blocks of 16")
    assert "goodput and attainment: TTFT at most 0.02 s, TPOT at most 0.1 s" in out
    assert "here predictions are exact" in out
    assert f"{1000 * expected['p99_ttft_s'].mean():.1f}" in out


def test_a_trace_keeps_its_arrivals_or_takes_a_rate(run, trace):
    for flags, rate in (([], None), (["--rate", "60"], 60.0)):
        reqs = js.traces.load_requests(
            trace, rate=rate, num_requests=20, batch=3, key=jax.random.key(0)
        )
        _, out, _ = run(
            *("--trace", trace, "--server", NAME, *SIZE, *flags, *RULES, "--json", "-"),
            *("--window", "0.1,3"),
        )
        agree(means(out)["smallest_volume"], measured(reqs, "svf", window=(0.1, 3.0)))


def test_settings_of_vllm_and_options_that_go_before_them(run, tmp_path):
    path = tmp_path / "args.json"
    path.write_text('{"num_gpu_blocks": 101, "max-num-seqs": 4, "scheduling_policy": "priority"}')
    code, out, err = run(*SMALL, "--vllm", path, "--json", "-")
    assert code == 0
    assert "KV capacity 1,600 tokens" in err
    clock = js.servers.get(NAME).clock
    server = js.Server.from_vllm(path, clock=clock)
    assert list(means(out)) == ["priority", "smallest_volume"]
    agree(means(out)["priority"], measured(drawn(0), "priority", server))

    flags = ["--capacity", "3200", "--max-num-seqs", "2", "--max-num-batched-tokens", "64"]
    _, out, _ = run(*SMALL, "--vllm", path, *flags, "--policies", "svf", "--json", "-")
    shown = json.loads(out)["server"]
    assert (shown["kv_capacity"], shown["max_num_seqs"]) == (3200, 2)
    server = server.replace(kv_capacity=3200, max_num_seqs=2, max_num_batched_tokens=64)
    agree(means(out)["svf"], measured(drawn(0), "smallest_volume", server))


def test_predictions_may_err_and_the_end_may_have_a_target(run):
    flags = ["--sigma", "0.7", "--seed", "3", "--e2e-slo-s", "0.2", "--policies", "smallest_volume"]
    _, out, said = run(*SMALL, *flags, "--json", "-")
    erring = js.workloads.predict(drawn(3), jax.random.fold_in(jax.random.key(3), 2), sigma=0.7)
    agree(means(out)["smallest_volume"], measured(erring, "smallest_volume", e2e_slo_s=0.2))
    assert json.loads(out)["targets"]["e2e_slo_s"] == 0.2
    assert "predictions are off by a log-normal factor, --sigma 0.7 --seed 3" in said
    assert "here predictions are the requests' own" in " ".join(said.split())


def test_what_did_not_complete_is_said_in_a_sentence(run):
    code, out, err = run(*SMALL, "--capacity", "100", "--policies", "fcfs")
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    reqs = drawn(0)
    refused = int(np.count_nonzero(reqs.prompt_tokens + reqs.output_tokens - 1 > 96))
    assert f"fcfs: {refused} of 60 requests: the request could never finish" in said


@pytest.mark.parametrize("columns", [60, 80])
def test_names_of_rules_are_whole_on_terminals(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    rules = "fcfs,aged_shortest_first,smallest_volume"
    code, out, _ = run(*SMALL, "--policies", rules)
    assert code == 0
    assert set(rules.split(",")) <= {*out.split()}
    assert all(len(line.rstrip()) <= columns for line in out.splitlines()[1:])
    for unit in ("(ms)", "(s)", "(tokens/s)"):
        assert unit in out


@pytest.mark.slow
def test_one_stream_is_drawn_over_time(run, trace, tmp_path):
    path = tmp_path / "out.svg"
    code, _, err = run("--trace", trace, "--server", NAME, *RULES, "--plot", path)
    assert (code, err) == (0, "")
    assert path.stat().st_size > 0


@pytest.mark.slow
def test_ascii_where_there_is_no_unicode():
    done = subprocess.run(
        [sys.executable, "-m", "jaxsched", "serve", *SMALL, *RULES],
        cwd=ROOT,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert b"+-" in done.stdout


SETTINGS = {
    "broken": "{",
    "list": "[1]",
    "unknown": '{"max_nm_seqs": 3}',
    "caching": '{"enable_prefix_caching": true}',
    "blocks": '{"num_gpu_blocks": "many"}',
    "few": '{"num_gpu_blocks": 0}',
    "grid": '{"max_num_seqs": [3, 4]}',
    "huge": '{"num_gpu_blocks": 1099511627776}',
}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--rate is missing; without a --trace, say how many requests arrive a second"),
        (["--trace", "none.csv"], "none.csv: No such file"),
        (["--trace", "no_times.csv"], "no_times.csv: has no arrival times; give --rate R"),
        (["--trace", "unsorted.csv"], "before line 2 at 1 s; --sort orders rows by arrival"),
        (["--trace", "week.csv", "--workload", "chat"], "--workload and --trace exclude each"),
        (["--trace", "week.csv", "--requests", "99"], "--requests is 99; expected 1 to 25"),
        (["--rate", "0"], "--rate is 0; expected a finite number of requests a second"),
        (["--rate", "nan"], "--rate is nan; expected a finite"),
        (["--rate", "1", "--sort"], "--sort is about rows of a --trace"),
        (["--rate", "1", "--streams", "0"], "--streams is 0; expected an integer >= 1"),
        (["--rate", "1", "--ttft-slo-s", "-1"], "--ttft-slo-s is -1; expected a finite"),
        (["--rate", "1", "--tpot-slo-s", "nan"], "--tpot-slo-s is nan; expected a finite"),
        (["--rate", "1", "--e2e-slo-s", "0"], "--e2e-slo-s is 0; expected a finite"),
        (["--rate", "1", "--sigma", "-1"], "--sigma is -1; expected a finite number >= 0"),
        (["--rate", "1", "--window", "3,1"], "--window is '3,1'; expected two seconds T0,T1"),
        (["--rate", "1", "--policies", "smalest"], "did you mean 'smallest_volume'?"),
        (["--rate", "1", "--policies", ""], "--policies names none"),
        (["--rate", "1", "--max-num-seqs", "0"], "--max-num-seqs is 0; expected a number >= 1"),
        (["--rate", "1", "--capacity", "99999999999"], "expected at most 2^31 - 1"),
        (["--rate", "1", "--vllm", "none.json"], "none.json: No such file"),
        (["--rate", "1", "--vllm", "broken.json"], "broken.json: is not JSON"),
        (["--rate", "1", "--vllm", "list.json"], "list.json: the content is [1]; expected a table"),
        (["--rate", "1", "--vllm", "unknown.json"], "unknown.json: max_nm_seqs is no setting"),
        (["--rate", "1", "--vllm", "caching.json"], "requests that share a prefix would skip"),
        (["--rate", "1", "--vllm", "blocks.json"], "num_gpu_blocks is 'many'; expected an int"),
        (["--rate", "1", "--vllm", "few.json"], "num_gpu_blocks is 0; expected an integer >= 2"),
        (
            ["--rate", "1", "--vllm", "grid.json"],
            "max_num_seqs is [3, 4]; expected one number, name",
        ),
        (["--rate", "1", "--vllm", "huge.json"], "expected at most 2^31 - 1"),
    ],
)
def test_bad_input_is_one_line(run, trace, tmp_path, monkeypatch, flags, message):
    del trace  # which lies in this folder
    monkeypatch.chdir(tmp_path)
    for name, text in SETTINGS.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "no_times.csv").write_text("num_prefill_tokens,num_decode_tokens\n3,2\n")
    (tmp_path / "unsorted.csv").write_text(f"{HEADER}1,3,2\n0.5,1,4\n")
    code, out, err = run("--server", NAME, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_server_must_be_named(run):
    assert "Missing option '--server'" in run("--rate", "1")[2]
    assert "no server is called 'h100x'" in run("--rate", "1", "--server", "h100x")[2]
