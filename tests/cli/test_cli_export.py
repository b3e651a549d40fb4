"""``jaxsched export`` writes a rule for an engine."""

import pytest

pytestmark = pytest.mark.jax_defaults


def test_writes_a_file_that_computes_priorities(run, tmp_path):
    path = tmp_path / "priority.py"
    code, _, err = run("export", "--out", path)
    assert (code, err) == (0, "")
    assert "rule 'smallest_volume', for vLLM" in path.read_text()
    flags = ("--policy", "length_weighted", "--capacity", 1000, "--engine", "sglang")
    assert run("export", "--out", path, *flags)[0] == 0
    found = {}
    exec(path.read_text(), found)
    assert found["priority"](300, 40) < 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing option '--out'"),
        ("--out nowhere/p.py", "--out nowhere/p.py: there is no folder nowhere"),
        ("--out p.py --engine tgi", "--engine is 'tgi'; expected vllm or sglang"),
        ("--out p.py --policy hrrn", "rule 'hrrn' is dynamic"),
        (
            "--out p.py --policy length_weighted",
            "--capacity is missing; rule 'length_weighted' uses it; give the tokens of the",
        ),
    ],
)
def test_refuses(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("export", *arguments.split())
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
