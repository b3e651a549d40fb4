"""Rules with parameters: what they compute, and that a file keeps every bit."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from jaxsched.policies.features import NAMES, features
from jaxsched.policies.testing import check_policy

INST = js.workloads.mixed(jax.random.key(0), num_requests=60, batch=3)
RULES = {
    "linear": js.policies.linear_score(("log_volume", "prompt_share*log_output"), (0.1, 1 / 3)),
    "mlp": js.policies.mlp_score(NAMES[:4], hidden=5, seed=3),
}


def test_features_of_a_request_worked_out_by_hand():
    inst = js.Instance.from_lengths([6, 2], [3, 4], kv_capacity=20)
    found = features([*NAMES, "log_prompt*output_share"], inst)
    volume = 6 * 3 + 3 * 4 / 2
    of_logs = [np.log(6), np.log(3), np.log(9), np.log(volume)]
    row, weight, arrival = 0.0, 0.0, 0.0
    expected = [*of_logs, 0.3, 0.15, row, weight, arrival, np.log(6) * 0.15]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    assert found[1, NAMES.index("row_share")] == 0.5
    heavy = inst.replace(weight=jnp.array([1.0, 5.0]))
    np.testing.assert_allclose(features(["log_weight"], heavy)[:, 0], [0, np.log(5)], rtol=1e-6)


def test_log_volume_alone_is_smallest_volume():
    rule = js.policies.linear_score(("log_volume",), (1.0,))
    exact = js.simulate(INST, js.prioritize(INST, "smallest_volume"))
    found = js.simulate(INST, js.prioritize(INST, rule))
    np.testing.assert_array_equal(found.start, exact.start)


@pytest.mark.parametrize("suffix", ["json", "npz"])
@pytest.mark.parametrize("name", RULES)
def test_a_file_keeps_every_bit(name, suffix, tmp_path):
    path = tmp_path / f"rule.{suffix}"
    js.policies.save(RULES[name], path)
    for again in (js.policies.load(path), js.policies.make(f"file:{path}")):
        assert again.features == RULES[name].features
        np.testing.assert_array_equal(
            np.asarray(js.prioritize(INST, again)).view(np.int32),
            np.asarray(js.prioritize(INST, RULES[name])).view(np.int32),
        )


@pytest.mark.parametrize("rule", [RULES["linear"], RULES["mlp"], js.policies.length_weighted()])
def test_keeps_the_contract_of_a_rule(rule):
    check_policy(rule)


def test_aging_keeps_the_contract_and_reads_rows():
    check_policy(js.policies.aged_shortest_first(), uses_row_order=True)


def test_aging_leads_from_shortest_output_to_first_come():
    for aging, name in ((0.0, "shortest_output"), (1e4, "fcfs")):
        found = js.simulate(INST, js.prioritize(INST, js.policies.aged_shortest_first(aging)))
        expected = js.simulate(INST, js.prioritize(INST, name))
        np.testing.assert_array_equal(found.start, expected.start)


def test_mlp_is_its_formula():
    rule = RULES["mlp"]
    inst = jax.tree.map(lambda leaf: leaf[0], INST)
    x = np.asarray(features(rule.features, inst), np.float64)
    hidden = np.maximum(0, x @ np.asarray(rule.hidden_weights) + np.asarray(rule.hidden_bias))
    np.testing.assert_allclose(rule(inst), hidden @ np.asarray(rule.weights), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"features": ["log_promt"]}, "no feature is called 'log_promt'; did you mean 'log_prompt"),
        ({"features": []}, "features is empty"),
        ({"features": ["log_prompt"] * 2}, "features names 'log_prompt' twice"),
        ({"features": ["log_prompt"], "weights": [1, 2]}, "expected 1 finite numbers"),
        ({"features": ["log_prompt"], "weights": [jnp.nan]}, "expected 1 finite numbers"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        js.policies.linear_score(**arguments)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "rule.json"
    js.policies.save(RULES["linear"], path)
    content = json.loads(path.read_text())
    content["parameters"]["weights"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"rule\.json: weights has shape"):
        js.policies.load(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"rule\.json: the content is \[\]; expected a table"):
        js.policies.load(path)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match="rule 'fcfs' cannot be saved"):
        js.policies.save(js.policies.fcfs, tmp_path / "rule.json")
    with pytest.raises(ValueError, match=r"ends in \.json or \.npz"):
        js.policies.save(RULES["linear"], tmp_path / "rule.txt")


def test_a_rule_file_with_members_it_does_not_know_is_refused(tmp_path):
    path = tmp_path / "rule.npz"
    js.policies.save(js.policies.linear_score(["log_output"], [0.1]), path)
    members = dict(np.load(path))
    np.savez(path, **members, more=np.zeros(2))
    with pytest.raises(ValueError, match=r"rule\.npz: holds the member 'more', which Rule does"):
        js.policies.load(path)
