"""The judge of recorded runs takes everything that schedulers really did."""

import pytest

import jaxsched as js
from tests.engine.online import stored_logs, vllm_logs
from tests.engine.online.outcomes import columns_of, outcome_of, requests_of, server_of
from tests.engine.online.scenarios import random_scenario


def verdict_of(scenario, log, columns=None):
    return js.verify_service(
        requests_of(scenario),
        server_of(scenario),
        outcome_of(scenario, log),
        columns_of(log) if columns is None else columns,
    )


@pytest.mark.parametrize("name", vllm_logs.NAMES)
def test_the_logs_of_vllm_are_valid(vllm_logs_dir, name):
    scenario, columns = vllm_logs.load(vllm_logs_dir / f"{name}.npz")
    assert verdict_of(scenario, scenario.log(), columns) == (True, "", -1, -1)


@pytest.mark.parametrize("name", stored_logs.CASES)
def test_the_stored_logs_are_valid(name):
    scenario, log = stored_logs.load(stored_logs.FOLDER / f"{name}.json")
    assert verdict_of(scenario, log) == (True, "", -1, -1)


@pytest.mark.parametrize(
    "seeds",
    [range(60), pytest.param(range(60, 400), marks=pytest.mark.slow)],
    ids=["some", "many"],
)
def test_random_runs_are_valid(seeds):
    for seed in seeds:
        scenario = random_scenario(seed)
        assert verdict_of(scenario, scenario.log()) == (True, "", -1, -1), seed
