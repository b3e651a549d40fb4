import jax
import numpy as np
import pytest

from jaxsched import bounds
from jaxsched.engine.simulate import simulate
from jaxsched.model.instance import Instance, exact_volume
from jaxsched.model.stack import stack
from jaxsched.policies import prioritize
from jaxsched.policies.guided.price_guided import price_guided
from jaxsched.policies.testing import check_policy
from jaxsched.workloads import mixed


def test_it_keeps_the_contract_of_a_rule():
    check_policy(price_guided(num_steps=0))


def test_it_orders_by_best_start_then_volume():
    rng = np.random.default_rng(0)
    output, prompt = rng.integers(1, 30, 40), rng.integers(1, 30, 40)
    inst = Instance.from_lengths(prompt, output, kv_capacity=80)
    priority = price_guided(num_steps=50, num_blocks=64)(inst)
    start = bounds.price(inst, num_steps=50, num_blocks=64).best_starts
    on_host = jax.tree.map(np.asarray, inst)
    pairs = list(zip(start.tolist(), exact_volume(on_host).tolist(), strict=True))
    ordered = [pairs[i] for i in np.argsort(priority, kind="stable")]
    assert ordered == sorted(pairs)
    assert (priority[:, None] == priority).tolist() == [[a == b for b in pairs] for a in pairs]


@pytest.mark.slow
def test_it_is_about_as_good_as_smallest_volume():
    inst = mixed(jax.random.key(0), num_requests=60, batch=4)
    total = {
        rule: np.asarray(simulate(inst, prioritize(inst, rule)).completion).sum()
        for rule in ("smallest_volume", "fcfs")
    }
    rule = price_guided(num_blocks=128)
    guided = np.asarray(simulate(inst, prioritize(inst, rule)).completion).sum()
    assert guided < 1.02 * total["smallest_volume"]
    assert guided < 0.8 * total["fcfs"]


def test_padding_takes_no_part():
    inst = Instance.from_lengths([3, 1, 6, 2, 1], [4, 5, 1, 2, 2], kv_capacity=10)
    longer = Instance.from_lengths([3] * 7, [4] * 7, kv_capacity=10)
    rule = price_guided(num_steps=0)
    together = np.asarray(prioritize(stack([inst, longer]), rule))
    alone = np.asarray(prioritize(inst, rule))
    assert (np.argsort(together[0, :5]) == np.argsort(alone)).all()
