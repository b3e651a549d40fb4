"""Files of rules that are not what js.policies.save writes: one error naming file and field."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

LINEAR = js.policies.linear_score(["log_output", "log_prompt"], [0.1, 2.0])
FORMS = ("json", "npz")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rule.json"


def content_of(rule, path):
    js.policies.save(rule, path, tuned_on={"source": "chat", "num_requests": [10, 20]})
    return json.loads(path.read_text())


def refused(path):
    messages = []
    for read in (js.policies.load, lambda path: js.policies.make(f"file:{path}")):
        with pytest.raises(ValueError, match=r"\S") as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{path}: ")
    assert len(messages[0]) < 400
    return messages[0].removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": [1]}, "rule is [1]; expected text"),
        ({"rule": True}, "rule is True; expected text"),
        ({"rule": "linear_scor"}, "no kind of rule is called 'linear_scor'; did you mean"),
        ({"features": 3}, "features is 3; expected a list"),
        ({"features": "log_output"}, "features is 'log_output'; expected a list"),
        ({"features": [["log_output"]]}, "features[0] is ['log_output']; expected text"),
        ({"features": ["log_outpt", "x"]}, "features[0] is 'log_outpt': no feature is called"),
        ({"features": ["x" * 10**6, "log_output"]}, "features[0] is 'xxx"),
        ({"parameters": [0.1, 2]}, "parameters is [0.1, 2]; expected a table"),
        ({"parameters": {}}, "parameters lacks 'weights'; expected weights"),
        ({"parameters": {"weights": [1, 2], "bias": 1}}, "parameters.bias is no field"),
        ({"parameters": {"weights": None}}, "parameters.weights is None; expected finite num"),
        ({"parameters": {"weights": ["1", "2"]}}, "parameters.weights is ['1', '2']; expected"),
        ({"parameters": {"weights": [1, True]}}, "parameters.weights is [1, True]; expected"),
        ({"parameters": {"weights": ["1+2j", 0]}}, "parameters.weights is ['1+2j', 0]; expec"),
        ({"parameters": {"weights": [10**400, 0]}}, "parameters.weights is [1000"),
        ({"parameters": {"weights": [1, float("nan")]}}, "parameters.weights is [1, nan]"),
        ({"parameters": {"weights": [[1, 2], [3]]}}, "weights is [[1, 2], [3]]; expected rows"),
        ({"parameters": {"weights": [1, 2, 3]}}, "weights has shape (3,); expected (2,) with"),
        ({"tuned_on": 3}, "tuned_on is 3; expected a table"),
        ({"more": 3}, "more is no field; expected only rule, features, parameters, tuned_on"),
    ],
)
def test_json_of_wrong_types(path, change, message):
    path.write_text(json.dumps({**content_of(LINEAR, path), **change}))
    assert message in refused(path)


def test_json_nested_too_deeply(path):
    path.write_text("[" * 100_000)
    assert refused(path) == "is not JSON: it is nested too deeply"


def test_tuned_on_comes_back_from_both_forms(tmp_path):
    about = {"source": "chat", "num_requests": [10, 20], "server": None}
    for form in FORMS:
        path = tmp_path / f"rule.{form}"
        js.policies.save(LINEAR, path, tuned_on=about)
        assert js.policies.tuned_on(path) == about


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.array([1j, 2])}, "weights has dtype complex128; expected floats"),
        ({"weights": np.array(["1", "2"])}, "weights has dtype <U1; expected floats"),
        ({"weights": np.array([1, 2])}, "weights has dtype int64; expected floats"),
        ({"weights": np.array([[0.1], [2.0]])}, "weights has shape (2, 1); expected (2,)"),
        ({"weights": np.array([1.0, np.inf])}, "parameters.weights is [1.0, inf]; expected fin"),
        ({"weights": np.array([1.0, 1e300])}, "parameters.weights is [1.0, 1e+300]; expected f"),
        ({"features": np.array("log_output")}, "features is 'log_output'; expected a list"),
        ({"features": np.array([["a"], ["b"]])}, "features[0] is ['a']; expected text"),
        ({"rule": np.array("mlp_score")}, "lacks the field 'hidden_weights' of Rule"),
        ({"rule": np.array("mlp")}, "no kind of rule is called 'mlp'; did you mean 'mlp_score'?"),
        ({"tuned_on": np.array("[1")}, "tuned_on is not JSON: Expecting"),
        ({"tuned_on": np.array("[1]")}, "tuned_on is [1]; expected a table"),
        ({"tuned_on": np.array("[" * 10**5)}, "tuned_on is not JSON: it is nested too deeply"),
    ],
)
def test_npz_of_wrong_types(tmp_path, change, message):
    path = tmp_path / "rule.npz"
    js.policies.save(LINEAR, path)
    with np.load(path) as members:
        np.savez(path, **{**members, **change})
    assert message in refused(path)


def test_layers_that_do_not_fit(path):
    content = content_of(js.policies.mlp_score(("log_output", "log_prompt"), hidden=3), path)
    content["parameters"]["hidden_bias"].pop()
    path.write_text(json.dumps(content))
    assert "hidden_bias has shape (2,); expected (3,) with" in refused(path)


def test_the_command_line_says_it_in_one_line(run, path):
    path.write_text(json.dumps({**content_of(LINEAR, path), "rule": [1]}))
    for command in ("simulate", "bound", "improve"):
        code, out, err = run(command, "--policy", f"file:{path}", "--requests", 10)
        assert (code, out, err) == (2, "", f"jaxsched: error: {path}: rule is [1]; expected text\n")


def test_a_saved_rule_is_taken_wherever_a_rule_is(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a table folds a long path, so that its text varies
    js.policies.save(js.policies.linear_score(["log_output"], jnp.ones(1)), "rule.json")
    small = "--requests", 20, "--instances", 2, "--policy", "file:rule.json"
    for command in (["simulate"], ["bound", "--bounds", "volume"]):
        code, out, err = run(*command, *small)
        assert (code, err) == (0, "")
        assert "file:rule.json" in out
