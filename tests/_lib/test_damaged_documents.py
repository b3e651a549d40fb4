"""Thousands of damaged files that people may write by hand: JSON, CSV and TOML of this package."""

import numpy as np
import pytest

import jaxsched as js
from jaxsched.cli import main
from tests._lib.damage import bounded, mutated, read_or_refuse

pytestmark = pytest.mark.slow

CASES, CASES_OF_GRIDS = 300, 60

INST = js.stack(
    [
        js.Instance.from_lengths([3, 1, 5], [2, 4, 1], kv_capacity=8),
        js.Instance.from_lengths([7], [2], kv_capacity=9),
    ]
)
REQS = js.Requests.from_arrays(
    *([0.0, 0.5, 2.0], [300, 20, 5], [40, 100, 6]),
    predicted_output_tokens=[30, 0, 2.5],
    priority=[1, 0, 2],
    client=[0, 1, 0],
    ttft_slo_s=0.5,
)
TOML = """
workloads = ["chat", {name = "mixed", exact_counts = true}]
num_requests = [12, 2_000]
kv_capacity = [4200, 8400]
rules = ["fcfs", "smallest_volume"]
num_instances = 3
seed = 7
keep = "moments"
"""


def save_rule(path):
    rule = js.policies.linear_score(["log_output", "log_prompt"], [0.1, 0.2])
    js.policies.save(rule, path, tuned_on={"num_requests": 1000})


def save_network(path):
    js.policies.save(js.policies.mlp_score(hidden=3), path)


def save_server(path):
    js.servers.save(path, js.clock.LinearClock(6.0, 0.02, 0.01, 4e-5, 0.0), 100_000)


FILES = {
    "instance.json": (INST.save, js.Instance.load),
    "instance.csv": (INST.save, js.Instance.load),
    "requests.json": (REQS.save, js.Requests.load),
    "requests.csv": (REQS.save, js.Requests.load),
    "rule.json": (save_rule, js.policies.load),
    "network.json": (save_network, js.policies.load),
    "server.json": (save_server, js.servers.load),
}


@pytest.mark.parametrize("name", FILES)
def test_json_and_csv(tmp_path, name):
    path = tmp_path / name
    save, load = FILES[name]
    save(path)
    content, rng, good = path.read_bytes(), np.random.default_rng(list(FILES).index(name)), 0
    with bounded():
        for _ in range(CASES):
            good += read_or_refuse(path, mutated(rng, content, [content, TOML.encode()]), load)
    assert 0 < good < CASES


def test_grids_of_sweeps(tmp_path, capsys):
    path, rng, good = tmp_path / "sweep.toml", np.random.default_rng(200), 0

    def plan(path):
        code = main(["sweep", str(path), "--dry-run"])
        said = capsys.readouterr()
        if code == 0:
            return said.out
        assert (code, said.out) == (2, "")
        assert said.err.count("\n") == 1
        raise ValueError(said.err.strip())

    with bounded():
        for _ in range(CASES_OF_GRIDS):
            good += read_or_refuse(path, mutated(rng, TOML.encode(), [TOML.encode()]), plan)
    assert 0 < good < CASES_OF_GRIDS
