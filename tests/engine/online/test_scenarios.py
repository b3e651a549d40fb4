"""The random scenarios: what the oracle does with them adds up, and they reach every rule."""

from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests.engine.online.scenarios import GRID_S, random_scenario, scenarios
from tests.engine.online.test_oracle_logs import MUTATIONS, mutant_of


@given(scenarios())
@settings(max_examples=200)
def test_every_step_stays_within_the_server_s_limits(scenario):
    server, log = scenario.settings, scenario.log()
    usable = server.usable_blocks
    assert all(
        0 <= mid <= end <= usable
        for mid, end in zip(log.step_free_mid, log.step_free_end, strict=True)
    )
    assert all(running <= server.most_running for running in log.step_running)
    assert all(tokens <= usable * server.block_size for tokens in log.step_tokens)
    entry = 0
    for count, prefilled, decoding in zip(log.step_entries, log.step_P, log.step_B, strict=True):
        step = slice(entry, entry := entry + count)
        assert sum(log.ent_tok[step]) == prefilled + decoding <= server.max_num_batched_tokens
        assert len(set(log.ent_req[step])) == count


@given(scenarios())
@settings(max_examples=200)
def test_tokens_and_requests_are_conserved(scenario):
    log = scenario.log()
    if log.status != "ok":
        return
    served = [r for r, status in enumerate(log.out_status) if status == "finished"]
    room = [scenario.settings.max_model_len - s for s in scenario.prompt]
    output = [min(o, k) for o, k in zip(scenario.output, room, strict=True)]
    assert sorted(log.fin_req) == served
    assert [log.out_sampled[r] for r in served] == [output[r] for r in served]
    computed = sum(scenario.prompt[r] + output[r] - 1 for r in served)
    assert sum(log.ent_tok) == computed + log.recomputed_tokens
    assert len(log.adm_req) == len(served) + log.num_preemptions
    assert all(log.out_first_sched_time[r] >= scenario.arrival_s[r] for r in served)
    assert not served or log.step_free_end[-1] == scenario.settings.usable_blocks


@given(scenarios(clock="exact"))
@settings(max_examples=100)
def test_exact_clocks_lose_nothing_in_float64(scenario):
    ticks = np.array([*scenario.log().step_end, *scenario.arrival_s]) / GRID_S
    np.testing.assert_array_equal(ticks, np.round(ticks))
    assert (ticks < 2**43).all()


def test_a_seed_names_a_scenario():
    assert random_scenario(3) == random_scenario(3)
    assert random_scenario(3) != random_scenario(4)


def test_keywords_fix_settings():
    fixed = {"policy": "priority", "preemption": "swap", "block_size": 16, "victim": None}
    for seed in range(20):
        drawn = asdict(random_scenario(seed, **fixed).settings)
        assert {name: drawn[name] for name in fixed} == fixed


def events_of(scenario):
    """What happens in a scenario, by name."""
    log = scenario.log()
    yield log.status
    yield from set(log.out_status)
    happened = {
        "evicts": log.num_preemptions > 0,
        "evicts two in a step": len(log.pre_step) > len(set(log.pre_step)),
        "swaps": any(log.step_swapped),
        "cuts outputs": any(
            status == "finished" and sampled < output
            for status, sampled, output in zip(
                log.out_status, log.out_sampled, scenario.output, strict=True
            )
        ),
        "leaves the running without tokens": any(
            running > entries
            for running, entries in zip(log.step_running, log.step_entries, strict=True)
        ),
    }
    yield from (name for name, is_so in happened.items() if is_so)


def test_seeds_reach_every_event():
    counts = Counter(event for seed in range(600) for event in events_of(random_scenario(seed)))
    assert len(counts) == 12
    assert min(counts.values()) >= 3


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_seeds_notice_a_wrong_rule(mutation):
    mutant = mutant_of(*MUTATIONS[mutation])
    for seed in range(4_000):
        scenario = replace(random_scenario(seed), max_steps=300)
        if scenario.log().ent_req != scenario.log(mutant).ent_req:
            return
    pytest.fail("no seed below 4,000 notices it")
