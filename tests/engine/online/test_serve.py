"""js.serve against the oracle, the stored logs, and what vLLM's own scheduler decided."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.engine.online import stored_logs, vllm_logs
from tests.engine.online.outcomes import (
    columns_of,
    outcome_of,
    requests_of,
    server_of,
    stacked_server,
)
from tests.engine.online.scenarios import VLLM_OPTIONS, random_scenario

pytestmark = pytest.mark.jax_defaults

TIMES = ("arrival", "first_scheduled", "first_token", "completion")
COUNTS = ("num_preemptions", "status", "is_real")
VLLM_TIMES = {
    "first_scheduled_s": "out_first_sched_time",
    "first_token_s": "out_first_token_time",
    "completion_s": "out_finish_time",
}
TOTALS = ("num_steps", "recomputed_tokens", "peak_kv_tokens")


def requests_with_priority(scenario):
    return requests_of(
        scenario,
        priority=scenario.priority,
        predicted_output_tokens=scenario.predicted,
    )


def assert_same(out, expected, name="", rtol=1e-9):
    for field in COUNTS:
        np.testing.assert_array_equal(
            getattr(out, field), getattr(expected, field), err_msg=f"{name} {field}"
        )
    for field in TOTALS:
        assert int(getattr(out, field)) == int(getattr(expected, field)), (name, field)
    for field in TIMES:
        np.testing.assert_allclose(
            getattr(out, field), getattr(expected, field), rtol=rtol, err_msg=f"{name} {field}"
        )
    np.testing.assert_allclose(out.busy, expected.busy, rtol=rtol, err_msg=name)


def first_requests(out, n):
    """The outcome without its padding."""
    of_requests = (*TIMES, *COUNTS)
    return out.replace(**{field: getattr(out, field)[:n] for field in of_requests})


def serve_many(scenarios, **options):
    """Serve scenarios of equal choices, each a stream, in one call."""
    options = {"max_steps": scenarios[0].max_steps} | options
    reqs = js.stack([requests_with_priority(each) for each in scenarios])
    return js.serve(
        reqs,
        stacked_server([server_of(each) for each in scenarios]),
        **options,
    )


def assert_equal_to_the_oracle(scenarios, **options):
    out = serve_many(scenarios, **options)
    for number, scenario in enumerate(scenarios):
        n = len(scenario.prompt)
        assert_same(first_requests(out[number], n), outcome_of(scenario, scenario.log()), number)


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
@pytest.mark.parametrize("admission", ["prompt", pytest.param("chunk", marks=pytest.mark.slow)])
def test_random_scenarios_of_vllm_equal_the_oracle(policy, admission):
    fixed = VLLM_OPTIONS | {"policy": policy, "admission": admission}
    drawn = [random_scenario(seed, max_requests=12, clock="exact", **fixed) for seed in range(300)]
    # First come first served reads no priority, so that NaN among them is nothing to it.
    assert_equal_to_the_oracle(
        [each for each in drawn if policy == "priority" or not np.isnan(each.priority).any()]
    )


def groups(scenarios):
    """Scenarios by the choices of their servers, since each set of choices is a program."""
    by_choices = {}
    for name, scenario in scenarios.items():
        key = jax.tree.structure(server_of(scenario))
        by_choices.setdefault(key, {})[name] = scenario
    return list(by_choices.values())


def is_of_vllm(settings):
    """Whether these are settings that vLLM has."""
    return all(getattr(settings, name) == value for name, value in VLLM_OPTIONS.items())


@pytest.mark.slow
def test_stored_logs_of_vllm_settings():
    stored = {
        name: stored_logs.load(stored_logs.FOLDER / f"{name}.json") for name in stored_logs.CASES
    }
    logs = {name: log for name, (_, log) in stored.items()}
    of_vllm = {
        name: scenario for name, (scenario, _) in stored.items() if is_of_vllm(scenario.settings)
    }
    of_vllm = {
        name: each
        for name, each in of_vllm.items()
        if each.settings.admission in ("prompt", "chunk") and not np.isnan(each.priority).any()
    }
    assert len(of_vllm) >= 12
    for group in groups(of_vllm):
        out = serve_many(list(group.values()))
        for row, (name, scenario) in enumerate(group.items()):
            expected = outcome_of(scenario, logs[name])
            assert_same(first_requests(out[row], len(scenario.prompt)), expected, name)


@pytest.mark.slow
def test_what_vllm_decided(vllm_logs_dir):
    loaded = {name: vllm_logs.load(vllm_logs_dir / f"{name}.npz") for name in vllm_logs.NAMES}
    logs = {name: log for name, (_, log) in loaded.items()}
    for group in groups({name: scenario for name, (scenario, _) in loaded.items()}):
        out = serve_many(list(group.values()), max_steps=None)
        for row, (name, scenario) in enumerate(group.items()):
            n, log = len(scenario.prompt), logs[name]
            assert out.status[row, :n].tolist() == [js.Status.OK] * n
            for field, column in VLLM_TIMES.items():
                times = getattr(out, field)[row, :n]
                np.testing.assert_allclose(times, log[column], rtol=1e-9, err_msg=name)
            np.testing.assert_array_equal(out.num_preemptions[row, :n], log["out_preemptions"])
            assert int(out.num_steps[row]) == len(log["step_clock"])


def test_a_recorded_run_is_the_log_of_the_oracle_and_stands_before_the_judge():
    scenario, log = stored_logs.load(stored_logs.FOLDER / "recompute.json")
    reqs, server = requests_with_priority(scenario), server_of(scenario)
    out, columns = js.serve(reqs, server, record=True)
    assert_same(out, outcome_of(scenario, log))
    for name, expected in columns_of(log).items():
        np.testing.assert_allclose(columns[name], expected, rtol=1e-12, err_msg=name)
    verdict = js.verify_service(reqs, server, out, columns)
    assert verdict.is_valid, verdict
    with pytest.raises(ValueError, match=r"True with the leading axes \(1,\); record one"):
        js.serve(reqs[None], server, record=True)


def streams(batch=3, n=20, seed=0):
    scenarios = [
        random_scenario(seed + i, max_requests=n, clock="measured", **VLLM_OPTIONS, policy="fcfs")
        for i in range(batch)
    ]
    return js.stack([requests_with_priority(each) for each in scenarios])


SERVER = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=640, block_size=4)


def test_settings_broadcast_against_streams():
    reqs = streams()
    budgets = np.array([16, 64])
    out = js.serve(reqs, SERVER.replace(max_num_batched_tokens=budgets[:, None]))
    assert out.completion.shape == (2, *reqs.is_real.shape)
    for row, budget in enumerate(budgets):
        one = js.serve(reqs, SERVER.replace(max_num_batched_tokens=int(budget)))
        np.testing.assert_array_equal(out[row].completion, one.completion)


def test_the_width_of_jax_numbers_makes_no_difference(x64):
    del x64
    out = js.serve(streams(), SERVER)
    assert out.completion.dtype == np.float64
    with jax.enable_x64(True):
        again = js.serve(streams(), SERVER)
    np.testing.assert_array_equal(out.completion, again.completion)


def test_works_inside_jit_vmap_and_scan():
    reqs = streams()
    expected = js.serve(reqs, SERVER).completion
    in_jit = jax.jit(lambda reqs: js.serve(reqs, SERVER))  # as an argument, a clock is float32
    np.testing.assert_array_equal(in_jit(reqs).completion, expected)
    one_by_one = jax.vmap(lambda each: js.serve(each, SERVER).completion)(reqs)
    np.testing.assert_array_equal(one_by_one, expected)
    _, scanned = jax.lax.scan(lambda _, each: (0, js.serve(each, SERVER).completion), 0, reqs)
    np.testing.assert_array_equal(scanned, expected)


def test_nothing_compiles_anew_when_numbers_change(compiled):
    reqs = streams()
    js.serve(reqs, SERVER)
    with compiled() as events:
        js.serve(reqs, SERVER.replace(max_num_batched_tokens=100, kv_capacity=800, watermark=0.1))
    assert not events


def test_a_rule_is_a_priority_from_predicted_lengths():
    reqs = streams(seed=5)
    wrong = reqs.replace(
        predicted_output_tokens=1000.0 - jnp.asarray(reqs.output_tokens, "float32")
    )
    by_rule = js.serve(wrong, SERVER, "shortest_output")
    by_output = reqs.replace(priority=-jnp.asarray(reqs.output_tokens))
    by_hand = js.serve(by_output, SERVER, "priority")
    np.testing.assert_array_equal(by_rule.completion, by_hand.completion)
    by_function = js.serve(reqs, SERVER, js.policies.fcfs).completion
    np.testing.assert_array_equal(by_function, js.serve(reqs, SERVER, "fcfs").completion)


def test_statuses():
    reqs = streams(seed=5)
    too_long = np.array(reqs.prompt_tokens)
    too_long[0, 0] = SERVER.kv_capacity
    out = js.serve(reqs.replace(prompt_tokens=too_long), SERVER)
    assert out.status[0, 0] == js.Status.REFUSED
    assert (out.status[reqs.is_real] == js.Status.OK).sum() == reqs.is_real.sum() - 1
    some_nan = np.where(np.arange(reqs.is_real.shape[-1]) == 1, np.nan, [[0], [0], [1]])
    by_own = js.serve(reqs.replace(priority=some_nan), SERVER, "priority")
    assert (by_own.status == js.Status.NAN_PRIORITY).all()
    assert js.Status.STEP_LIMIT in js.serve(reqs, SERVER, max_steps=1).status
    with pytest.raises(ValueError, match="block_size is 0; expected a number >= 1"):
        js.serve(reqs, SERVER.replace(block_size=0))
    with pytest.raises(ValueError, match="no rule is called 'lifo'"):
        js.serve(reqs, SERVER, "lifo")


def test_tokens_are_conserved():
    reqs = js.Requests.from_arrays(
        np.sort(np.random.default_rng(0).uniform(0, 20, 300)),
        np.random.default_rng(1).integers(1, 400, 300),
        np.random.default_rng(2).integers(1, 200, 300),
    )
    out = js.serve(reqs, SERVER.replace(kv_capacity=2048))
    assert (np.asarray(out.status) == js.Status.OK).all()
    assert int(out.num_preemptions.sum()) > 0
    assert int(out.recomputed_tokens) > 0
    assert float(out.busy) <= float(out.completion.max())
    gaps = int(np.asarray(out.itl_histogram).sum())
    assert gaps == int((reqs.output_tokens - 1).sum())
    assert dataclasses.is_dataclass(out)


BEYOND_VLLM = {
    "swap": {"preemption": "swap", "admission": "chunk"},
    "swap by rank": {"preemption": "swap", "policy": "priority", "victim": "last_admitted"},
    "restart": {"preemption": "restart", "admission": "peak", "victim": "least_computed"},
    "restart by rank": {"preemption": "restart", "policy": "priority"},
    "never": {"preemption": "never", "admission": "look_ahead"},
    "never at peak": {"preemption": "never", "admission": "peak", "policy": "priority"},
    "look ahead": {"admission": "look_ahead", "victim": "longest_remaining"},
    "most memory": {"victim": "most_memory", "admission": "chunk", "policy": "priority"},
    "worst priority": {"victim": "worst_priority"},
    "prefill first": {"prefill_first": True},
    "prefill first by rank": {"prefill_first": True, "policy": "priority", "admission": "chunk"},
}


def predicted_output(inst):
    return inst.output_tokens  # what a rule sees of it


@pytest.mark.parametrize("policy", ["fcfs", pytest.param("priority", marks=pytest.mark.slow)])
def test_victims_by_a_rule_equal_the_oracle(policy):
    fixed = VLLM_OPTIONS | {"policy": policy, "admission": "prompt", "victim": "rule"}
    fixed.pop("swap_s_per_token")
    drawn = [random_scenario(s, max_requests=12, clock="exact", **fixed) for s in range(300)]
    kept = [each for each in drawn if policy == "priority" or not np.isnan(each.priority).any()]
    kept = [
        dataclasses.replace(each, victim_rank=[float(v) for v in each.predicted]) for each in kept
    ]
    assert_equal_to_the_oracle(kept, victim_rule=predicted_output)


@pytest.mark.slow
def test_victims_by_numbers_that_are_none():
    reqs = streams(batch=1)
    reqs = reqs.replace(priority=np.full(reqs.is_real.shape, np.nan))
    out = js.serve(reqs, SERVER, victim_rule="priority")
    assert (out.status == js.Status.NAN_PRIORITY).all()
    assert (js.serve(reqs, SERVER).status == js.Status.OK).all()


def test_victims_by_a_rule_of_the_library():
    reqs, server = streams(seed=7), SERVER.replace(kv_capacity=320)
    by_name = js.serve(reqs, server, victim_rule="shortest_output")
    by_own = js.serve(reqs, server, victim_rule=lambda inst: inst.output_tokens)
    np.testing.assert_array_equal(by_name.completion, by_own.completion)
    assert int(by_name.num_preemptions.sum()) > 0
    by_index = js.serve(
        reqs, server, victim_rule=lambda inst: jnp.arange(inst.prompt_tokens.shape[-1])
    )
    assert (by_name.completion != by_index.completion).any()
    with pytest.raises(ValueError, match=r"victim_rule goes with .* 'most_memory'; give one of"):
        js.serve(reqs, server.replace(victim="most_memory"), victim_rule="fcfs")


@pytest.mark.slow
@pytest.mark.parametrize("choices", BEYOND_VLLM.values(), ids=BEYOND_VLLM)
def test_options_beyond_vllm_equal_the_oracle(choices):
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"} | choices
    fixed.pop("swap_s_per_token")
    drawn = [random_scenario(s, max_requests=12, clock="exact", **fixed) for s in range(300)]
    is_read = fixed["policy"] == "priority" or fixed["victim"] == "worst_priority"
    kept = [each for each in drawn if is_read or not np.isnan(each.priority).any()]
    assert_equal_to_the_oracle(kept)
