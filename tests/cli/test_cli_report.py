"""The command ``report``, as a user meets it."""

import functools
import json

import numpy as np
import pytest

import jaxsched as js

NAME = "llama3.1_8b_h100"


@pytest.fixture
def trace(tmp_path):
    generator = np.random.default_rng(0)
    path = tmp_path / "log.csv"
    rows = zip(
        generator.exponential(0.1, 160).cumsum().round(3),
        generator.integers(20, 900, 160),
        generator.integers(2, 40, 160),
        strict=True,
    )
    lines = [f"{at},{prompt},{output}" for at, prompt, output in rows]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *lines, ""]))
    return path


@pytest.fixture
def run(run):
    return functools.partial(run, "report")


def test_writes_the_page_and_the_numbers_of_the_library(run, trace, tmp_path):
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    code, out, err = run(
        *("--trace", trace, "--server", NAME, "--targets", "ttft=50ms, TPOT=0.05 s"),
        *("--policies", "fcfs", "--vary", "max_num_seqs=2,128", "--runs", 4, "--requests", 20),
        *("--html", page, "--json", numbers),
    )
    assert (code, err) == (0, "")
    known = js.servers.info(NAME)
    found = js.decide(
        js.traces.load_requests(trace),
        known.server,
        "fcfs",
        vary={"max_num_seqs": [2, 128]},
        ttft_slo_s=0.05,
        tpot_slo_s=0.05,
        num_runs=4,
        num_requests=20,
        known=known,
    )
    assert out.startswith(str(found).splitlines()[0])
    assert f"report saved to {page}" in out
    written = json.loads(numbers.read_text())
    assert written.pop("manifest")["command"].startswith("jaxsched report --trace")
    assert written == json.loads(json.dumps(found.to_dict()))
    text = page.read_text()
    assert "What Llama-3.1-8B on 1 x H100 takes of log.csv" in text
    assert "jaxsched report --trace" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--targets", "ttft=500"], "--targets has 'ttft=500'; expected a time above 0 with its"),
        (["--targets", "ttft=0ms"], "--targets has 'ttft=0ms'; expected a time above 0"),
        (["--targets", "ttft=-5ms"], "--targets has 'ttft=-5ms'; expected a time above 0"),
        (["--targets", "itl=5ms"], "--targets has 'itl=5ms'; expected ttft, tpot, e2e with a time"),
        (["--targets", "500ms"], "--targets has '500ms'; expected ttft, tpot, e2e with a time"),
        (["--targets", ""], "--targets has ''; expected ttft, tpot, e2e with a time"),
        (["--targets", "ttft=1s,ttft=2s"], "--targets names ttft twice; give it once"),
        (["--targets", "ttft=1s", "--attainment", "2"], "--attainment is 2.0; expected a share"),
        (["--targets", "ttft=1s", "--policies", "fcf"], "no rule is called 'fcf'; did you mean"),
        (["--targets", "ttft=1s", "--runs", "0"], "--runs is 0; expected an integer >= 1"),
        (["--targets", "ttft=1s", "--html", "no/x.html"], "--html no/x.html: there is no folder"),
        (["--targets", "ttft=1s", "--vary", "watermark"], "--vary is 'watermark'; expected"),
        (["--targets", "ttft=1s"], "reqs has 160 requests, too few for 16 runs; expected at least"),
    ],
)
def test_bad_input_is_one_line(run, trace, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("--trace", trace, "--server", NAME, *flags)
    assert code == 2
    assert out == ""
    assert err.startswith(f"jaxsched: error: {message}")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))
