"""On their worst cases simple rules lose like sqrt(M); Sorted-F and smallest volume do not."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxsched.model.stack import stack
from jaxsched.policies.batches.sorted_f import sorted_f
from jaxsched.studies.comparing.compare import compare
from jaxsched.workloads import worst_case

CAPACITIES = (144, 400, 1024)  # their roots, and the halves of those, are whole
SIMPLE = ("shortest_output", "fcfs", "total_size")


def other_class_first(inst):
    """Serve from the back: each simple rule serves its own family from the front."""
    return -jnp.arange(inst.output_tokens.shape[-1], dtype=jnp.int32)


@pytest.fixture(scope="module")
def losses():
    """TEL over that of the other class first: ``[families, capacities]`` for each rule."""
    inst = stack([worst_case(rule, capacity) for rule in SIMPLE for capacity in CAPACITIES])
    rules = {"sorted_f": sorted_f(), "smallest_volume": "smallest_volume"}
    rules |= {"other_class_first": other_class_first} | {name: name for name in SIMPLE}
    metrics = compare(inst, rules, bound=None).metrics
    latency = {
        rule: found["total_latency_rounds"].reshape(len(SIMPLE), len(CAPACITIES))
        for rule, found in metrics.items()
    }
    return {rule: values / latency["other_class_first"] for rule, values in latency.items()}


def exponent(loss):
    return np.polyfit(np.log(CAPACITIES), np.log(loss), 1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("row", range(3), ids=SIMPLE)
def test_a_simple_rule_loses_like_the_root_of_the_capacity(losses, row):
    assert exponent(losses[SIMPLE[row]][row]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("row", range(3), ids=SIMPLE)
@pytest.mark.parametrize("rule", ["sorted_f", "smallest_volume"])
def test_sorted_f_and_smallest_volume_lose_a_bounded_factor(losses, rule, row):
    assert abs(exponent(losses[rule][row])) < 0.1
    assert losses[rule][row].max() < 1.1
