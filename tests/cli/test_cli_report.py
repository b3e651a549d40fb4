"""What the command ``report`` refuses; tests/studies/test_decide.py reads what it writes."""

import functools

import pytest

NAME = "llama3.1_8b_h100"


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "log.csv"
    rows = [f"{at},30,4" for at in range(160)]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows, ""]))
    return path


@pytest.fixture
def run(run):
    return functools.partial(run, "report")


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
        (
            ["--targets", "ttft=1s"],
            "log.csv: has 160 requests, too few for 16 runs; expected at least 320, or",
        ),
        (
            ["--targets", "ttft=1s", "--requests", "20", "--until", "4"],
            "log.csv: has 4 requests, too few for 16 runs; expected at least 20",
        ),
        (
            ["--targets", "ttft=1s", "--trace", "lengths.csv"],
            "lengths.csv: has no times of arrival, which a report needs; if a column holds them",
        ),
    ],
)
def test_bad_input_is_one_line(run, trace, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lengths.csv").write_text("num_prefill_tokens,num_decode_tokens\n3,2\n")
    code, out, err = run("--trace", trace.name, "--server", NAME, *flags)
    assert code == 2
    assert out == ""
    assert err.startswith(f"jaxsched: error: {message}")
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("*.html"))
