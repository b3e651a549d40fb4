"""``jaxsched tune``: lengths in, a rule out, and the rule used by name."""

import json

import jax
import numpy as np
import pytest

import jaxsched as js

SMALL = ["--workload", "mixed", "--requests", "40", "--instances", "4", "--steps", "12"]


@pytest.fixture
def tuned(run, tmp_path):
    path = tmp_path / "rule.json"
    code, out, err = run("tune", path, *SMALL, "--json", tmp_path / "run.json")
    assert code == 0, err
    return path, out, json.loads((tmp_path / "run.json").read_text())


def test_gives_what_the_library_gives(tuned):
    path, out, saved = tuned
    both = js.workloads.mixed(jax.random.key(0), num_requests=40, batch=8)
    train, held_out = (
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], both)
        for rows in (slice(0, 4), slice(4, 8))
    )
    names = ("log_prompt", "log_output", "log_total", "log_volume", "prompt_share", "output_share")
    rule = js.policies.linear_score(names, [name == "log_volume" for name in names])
    found = js.tune(rule, train, held_out, jax.random.key(0), steps=12)
    again = js.policies.make(f"file:{path}")
    np.testing.assert_array_equal(
        js.prioritize(held_out, again), js.prioritize(held_out, found.rule)
    )
    assert saved["history"]["validation"] == found.history.validation.tolist()
    assert f"--policies file:{path}" in out
    assert f"jaxsched export --policy file:{path} --out priority.py --capacity 16492" in out
    assert "smallest_volume" in out


def test_features_are_chosen_by_name(run, tmp_path):
    path = tmp_path / "rule.json"
    assert run("tune", path, *SMALL, "--features", "log_volume, log_output")[0] == 0
    assert js.policies.load(path).features == ("log_volume", "log_output")


def test_the_rule_is_used_by_name(run, tuned, tmp_path):
    path, _, _ = tuned
    table = tmp_path / "table.json"
    rules = f"smallest_volume,file:{path}"
    assert run("compare", *SMALL[:-2], "--policies", rules, "--json", table)[0] == 0
    inst = js.workloads.mixed(jax.random.key(0), num_requests=40, batch=4)
    expected = js.tuning.evaluate(inst, js.policies.load(path)).mean()
    found = json.loads(table.read_text())["rules"]
    assert list(found) == ["smallest_volume", f"file:{path}"]
    mean = found[f"file:{path}"]["mean_latency_rounds"]["mean"]
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    assert run("simulate", *SMALL[:-2], "--policy", f"file:{path}")[0] == 0


def test_goes_on_from_a_saved_rule_and_from_a_checkpoint(run, tuned, tmp_path):
    path, _, _ = tuned
    state = tmp_path / "state"
    more = [*SMALL, "--policy", f"file:{path}", "--checkpoint", state]
    found = []
    for name in ("first.npz", "again.npz"):
        assert run("tune", tmp_path / name, *more)[0] == 0
        assert (state / "tuning.npz").exists()
        found.append(jax.tree.leaves(js.policies.make(f"file:{tmp_path / name}")))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_counts_seconds_on_a_server(run, tmp_path):
    flags = ["--objective", "p99", "--server", "llama2_70b_2xa100", "--json", tmp_path / "run.json"]
    code, out, _ = run("tune", tmp_path / "rule.json", *SMALL, *flags)
    assert code == 0
    assert "KV capacity 53,248 tokens" in out
    assert "(s)" in out
    saved = json.loads((tmp_path / "run.json").read_text())["history"]
    both = js.workloads.mixed(jax.random.key(0), num_requests=40, batch=8, kv_capacity=53248)
    held_out = jax.tree.map(lambda leaf: leaf[4:], both)
    sched = js.simulate(held_out, js.prioritize(held_out, "smallest_volume"))  # where it starts
    clock = js.clock.PRESETS["llama2_70b_2xa100"]
    expected = js.metrics.summary(held_out, sched, clock)["p99_latency_s"].mean()
    np.testing.assert_allclose(saved["validation"][0], expected, rtol=1e-5)


@pytest.mark.slow
def test_says_how_many_steps_ran_and_which_was_best(run, tuned, tmp_path):
    _, out, saved = tuned
    best = saved["best_step"]
    said = f"step {best} was best" if best else "none was better than the start, which is kept"
    assert f"ran 12 steps; {said}" in out
    flags = ["--steps", "500", "--patience", "1", "--minibatch", "1"]
    _, out, _ = run("tune", tmp_path / "other.json", *SMALL, *flags)
    assert "of 500, stopped by --patience 1; " in out


def test_the_rule_knows_what_it_was_tuned_on(run, tuned, tmp_path):
    path, _, _ = tuned
    about = {
        "source": "workload mixed",
        "num_requests": 40,
        "num_instances": 4,
        "kv_capacity": 16492,
        "server": None,
        "objective": "mean_latency",
    }
    assert js.policies.tuned_on(path) == about
    js.policies.save(js.policies.load(path), tmp_path / "rule.npz", tuned_on=about)
    assert js.policies.tuned_on(tmp_path / "rule.npz") == about
    for name in ("bare.json", "bare.npz"):
        js.policies.save(js.policies.load(path), tmp_path / name)
        assert js.policies.tuned_on(tmp_path / name) == {}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("flags", "here"),
    [
        ("--workload mixed --requests 40", None),
        ("--workload mixed --requests 41", "workload mixed, 41 requests, 16492 KV tokens"),
        ("--workload chat --requests 40", "workload chat, 40 requests, 16492 KV tokens"),
        (
            "--workload mixed --requests 40 --capacity 9000",
            "workload mixed, 40 requests, 9000 KV tokens",
        ),
    ],
)
def test_compare_warns_where_a_rule_was_tuned_on_something_else(run, tuned, flags, here):
    rule = f"file:{tuned[0]}"
    code, _, err = run("compare", *flags.split(), "--instances", "2", "--policies", rule)
    assert code == 0
    there = "workload mixed, 40 requests, 16492 KV tokens"
    said = f"jaxsched: warning: {rule} was tuned on {there}; here it orders {here}\n"
    assert err == ("" if here is None else said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "p98"], "no objective is called 'p98'; did you mean 'p99'"),
        (
            ["--objective", "atainment", "--ttft-slo-s", "1"],
            "no objective is called 'atainment'; did you mean 'attainment'?",
        ),
        (["--features", "log_promt"], "did you mean 'log_prompt'"),
        (["--policy", "fcfs", "--features", "log_prompt"], "policy 'fcfs' takes none"),
        (["--policy", "fcfs"], "'fcfs' has no parameters to tune"),
        (["--policy", "file:absent.json"], "absent.json: No such file"),
        (["--steps", "0"], "--steps is 0"),
        (["--minibatch", "5"], "--minibatch is 5 but train holds 4"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, arguments, message):
    code, out, err = run("tune", tmp_path / "rule.json", *SMALL, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


ONLINE = ["--server", "llama3.1_8b_h100", "--capacity", "12000", "--rate", "60", "--instances", "2"]
TARGETS = ["--objective", "attainment", "--ttft-slo-s", "0.3", "--tpot-slo-s", "0.05"]


@pytest.mark.slow
def test_tunes_rule_and_settings_of_a_server(run, tmp_path):
    path, saved = tmp_path / "rule.json", tmp_path / "run.json"
    vary = ["--vary", "max_num_batched_tokens=256,2048", "--json", saved]
    flags = [*ONLINE, *TARGETS, "--requests", "40", "--steps", "2"]
    code, out, err = run("tune", path, *flags, *vary)
    assert code == 0, err
    numbers = json.loads(saved.read_text())
    budget = numbers["settings"]["max_num_batched_tokens"]
    assert budget in (256, 2048)
    assert f"for vLLM: --max-num-batched-tokens {budget}" in out
    arguments = json.loads((tmp_path / "rule.vllm.json").read_text())
    assert arguments == {"max-num-batched-tokens": budget}
    server = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=12000)
    read = js.Server.from_vllm(tmp_path / "rule.vllm.json", clock=server.clock, kv_capacity=12000)
    key = jax.random.key(0)
    lengths = js.workloads.mixed(key, num_requests=40, batch=6, kv_capacity=2**31 - 1)
    test = js.workloads.poisson(jax.random.fold_in(key, 1), lengths, 60.0)[4:]
    objective = js.tuning.objectives.attainment(0.3, 0.05)
    found = -js.tuning.evaluate(test, js.policies.load(path), objective, server=read).mean()
    assert numbers["test"]["the rule when tuned"] == found
    fcfs = -js.tuning.evaluate(test, "fcfs", objective, server=server).mean()
    change = numbers["test_change"]["the rule when tuned"]
    np.testing.assert_allclose(change["mean"], found / fcfs - 1, rtol=1e-9)
    assert change["low"] <= change["mean"] <= change["high"]
    assert "changes are paired" in out
    assert f"jaxsched export --policy file:{path} --out priority.py --server llama3" in out
    about = js.policies.tuned_on(path)
    assert about["settings"] == numbers["settings"]
    used = ["--policies", f"file:{path}", "--vllm", tmp_path / "rule.vllm.json"]
    use = [*ONLINE[:6], "--streams", "2", "--requests", "40", *TARGETS[2:]]
    assert run("serve", *use, *used)[0] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "3"], "--rate is about requests at a server, and --objective mean_latency is"),
        (TARGETS, "--server is missing; --objective attainment is of a server"),
        ([*ONLINE, *TARGETS[:2]], "--ttft-slo-s is missing; --objective attainment needs a target"),
        ([*ONLINE, *TARGETS[2:], "--objective", "p99_ttft"], "--ttft-slo-s is for goodput and att"),
        (
            [*ONLINE, "--e2e-slo-s", "3", "--objective", "p99_e2e"],
            "--e2e-slo-s is for goodput and attainment; leave it out for p99_e2e",
        ),
        ([*ONLINE[:2], *TARGETS], "--rate is missing; without a --trace, say how many"),
        ([*ONLINE, *TARGETS, "--vary", "block_size=8,16"], "no setting to tune is called 'block_s"),
    ],
)
def test_says_what_a_server_needs(run, tmp_path, flags, message):
    code, _, err = run("tune", tmp_path / "rule.json", *flags, "--requests", "8")
    assert code == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize(
    "rule",
    [
        js.policies.aged_prompt(3.5),
        js.policies.gamma_boost(0.02),
        js.policies.highest_response_ratio(0.3, 1.5),
        js.policies.uniboost(evicts=True),
    ],
    ids=js.policies.rule_name,
)
def test_rules_of_constants_go_into_files(rule, tmp_path):
    js.policies.save(rule, tmp_path / "rule.json", tuned_on={"server": "one"})
    again = js.policies.make(f"file:{tmp_path / 'rule.json'}")
    assert js.policies.rule_name(again) == js.policies.rule_name(rule)
    jax.tree.map(np.testing.assert_array_equal, again, rule)
    assert getattr(again, "evicts", None) == getattr(rule, "evicts", None)
    assert js.policies.tuned_on(tmp_path / "rule.json") == {"server": "one"}
    with pytest.raises(ValueError, match=r"are kept in a file that ends in \.json"):
        js.policies.save(rule, tmp_path / "rule.npz")


def test_a_file_with_other_constants_is_refused(tmp_path):
    path = tmp_path / "rule.json"
    for parameters, message in (
        ({"tokens": 1.0}, "parameters lacks 'tokens_per_s'"),
        ({}, "parameters lacks 'tokens_per_s'"),
        ({"tokens_per_s": "fast"}, "tokens_per_s is 'fast'; expected a finite number"),
    ):
        path.write_text(json.dumps({"rule": "aged_prompt", "parameters": parameters}))
        with pytest.raises(ValueError, match=message):
            js.policies.load(path)
