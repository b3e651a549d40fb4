"""Constants of the rules for servers: numbers in range, or one sentence."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js

pytestmark = pytest.mark.jax_defaults

WRONG = [
    ("gamma_boost", {"gamma": 0}, "gamma is 0; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": np.nan}, "gamma is nan; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": 1e-45}, "gamma is 1e-45; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": -1.0}, "gamma is -1.0; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": 1e39}, "gamma is 1e+39; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": "a"}, "gamma is 'a'; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": None}, "gamma is None; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": True}, "gamma is True; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": [1.0, 0.0]}, "gamma[1] is 0.0; expected a finite number >= 1e-30"),
    ("gamma_boost", {"gamma": [[1.0], 2.0]}, "gamma is [[1.0], 2.0]; expected a finite number"),
    ("gamma_boost", {"prompt_s": -1}, "prompt_s is -1; expected a finite number >= 0"),
    ("gamma_boost", {"output_s": np.inf}, "output_s is inf; expected a finite number >= 0"),
    ("uniboost", {"gamma": 0.0}, "gamma is 0.0; expected a finite number >= 1e-30"),
    ("aged_prompt", {"tokens_per_s": -1}, "tokens_per_s is -1; expected a finite number >= 0"),
    ("aged_priority", {"per_s": "x"}, "per_s is 'x'; expected a finite number >= 0"),
    ("aged_size", {"half_tokens": 0}, "half_tokens is 0; expected a finite number > 0"),
    ("aged_size", {"wait_unit_s": 0}, "wait_unit_s is 0; expected a finite number > 0"),
    ("fading_prompt", {"per_s": -0.1}, "per_s is -0.1; expected a finite number >= 0"),
    ("least_slack", {"prefill_s": np.nan}, "prefill_s is nan; expected a finite number >= 0"),
    ("shortest_remaining", {"safe_after": -1}, "safe_after is -1; expected a finite number >= 0"),
    ("skip_join_mlfq", {"num_levels": 0}, "num_levels is 0; expected an integer >= 1"),
    ("skip_join_mlfq", {"num_levels": 2.5}, "num_levels is 2.5; expected an integer >= 1"),
    ("skip_join_mlfq", {"quantum_s": 0}, "quantum_s is 0; expected a finite number > 0"),
    ("skip_join_mlfq", {"starve_s": 0}, "starve_s is 0; expected a number > 0"),
    ("virtual_token_counter", {"prompt_cost": -1}, "prompt_cost is -1; expected a finite number"),
    ("least_attained_service", {"service_weight": 7}, "service_weight is 7; expected a number fr"),
    ("least_attained_service", {"half_life_s": 0}, "half_life_s is 0; expected a number > 0"),
    (
        "highest_response_ratio",
        {"prompt_cost": 0, "output_cost": 0},
        "prompt_cost and output_cost are 0; expected one of the two > 0",
    ),
    ("length_weighted", {"prompt": "a"}, "weights is ('a', 2.0); expected 2 finite numbers"),
]


@pytest.mark.parametrize(("name", "constants", "message"), WRONG)
def test_are_refused_where_the_rule_has_no_use_for_them(name, constants, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        js.policies.make(name, **constants)
    assert str(error.value).startswith(message)


def test_infinity_is_never_where_that_has_a_meaning():
    js.policies.skip_join_mlfq(starve_s=np.inf)
    js.policies.least_attained_service(half_life_s=np.inf)


def test_the_ends_of_ranges_are_in_them():
    js.policies.gamma_boost(1e-30, 0, 0)
    js.policies.aged_prompt(0)
    js.policies.least_attained_service(service_weight=1)
    js.policies.highest_response_ratio(0, 2)
    js.policies.skip_join_mlfq(num_levels=np.int64(1))


def test_of_traced_numbers_nothing_is_known():
    rules = jax.vmap(js.policies.gamma_boost)(jnp.array([0.0, 2.0]))
    assert rules.gamma.tolist() == [0.0, 2.0]
    made = jax.jit(lambda x: js.policies.skip_join_mlfq(num_levels=x))(3)
    assert made.rule.last_level == 2.0
    jax.jit(js.policies.highest_response_ratio)(0.0, 0.0)


def test_a_small_gamma_is_smallest_first():
    inst = js.Instance.from_lengths([5, 9, 1], [7, 2, 3], kv_capacity=20)
    numbers = np.asarray(js.policies.gamma_boost(1e-30, 1.0, 1.0)(inst))
    assert np.isfinite(numbers).all()
    assert np.argsort(numbers).tolist() == [2, 1, 0]


class TestOfFiles:
    @pytest.mark.parametrize(
        ("name", "constants", "message"),
        [
            each
            for each in WRONG
            if each[0] in ("aged_size", "highest_response_ratio", "least_attained_service")
        ],
    )
    def test_answer_the_same_way(self, name, constants, message, tmp_path):
        path = tmp_path / "rule.json"
        js.policies.save(js.policies.make(name), path)
        content = json.loads(path.read_text())
        content["parameters"] |= constants
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=re.escape(message)) as error:
            js.policies.load(path)
        assert str(error.value).startswith(f"{path}: {message}")

    def test_are_not_written_with_what_could_not_be_read(self, tmp_path):
        path = tmp_path / "rule.json"
        rule = js.policies.gamma_boost().replace(gamma=jnp.float32(-1))
        with pytest.raises(ValueError, match=r"gamma is -1.0; expected a finite number >= 1e-30"):
            js.policies.save(rule, path)
        assert not path.exists()
