"""What a rule sees at a server, and that rules for one instance order a queue."""

import jax
import jax.numpy as jnp
import pytest

import jaxsched as js
from jaxsched.engine.contract import Observation

PROMPT, PREDICTED = [7, 2, 13, 4], [3, 9, 1, 8]
STATIC = (
    "fcfs",
    "shortest_output",
    "shortest_prompt",
    "total_size",
    "smallest_volume",
    "sorted_f",
    "geometric",
    "linear_score",
    "mlp_score",
    "aged_shortest_first",
    "length_weighted",
)


def observation():
    return Observation(
        prompt_tokens=jnp.array(PROMPT),
        output_tokens=jnp.array(PREDICTED),
        is_real=jnp.ones(4, bool),
        kv_capacity=jnp.array(40),
        arrival_s=jnp.array([0.0, 0.5, 1.0, 1.5]),
        priority=jnp.zeros(4),
        client=jnp.zeros(4, jnp.int32),
        ttft_slo_s=jnp.full(4, jnp.inf),
        tpot_slo_s=jnp.full(4, jnp.inf),
        now_s=jnp.array(2.0),
        waited_s=jnp.array([2.0, 1.5, 1.0, 0.5]),
        generated_tokens=jnp.zeros(4, jnp.int32),
        computed_tokens=jnp.zeros(4, jnp.int32),
        is_running=jnp.zeros(4, bool),
    )


@pytest.mark.parametrize("name", STATIC)
def test_a_rule_for_an_instance_orders_a_queue_by_what_is_predicted(name):
    inst = js.Instance.from_lengths(PROMPT, PREDICTED, kv_capacity=40)
    rule = js.policies.make(name)
    assert jax.jit(rule)(observation()).tolist() == jax.jit(rule)(inst).tolist()


def test_a_rule_of_its_own_may_look_at_what_has_happened():
    def longest_wait(seen):
        return jnp.where(seen.is_running, jnp.inf, -seen.waited_s)

    assert longest_wait(observation()).tolist() == [-2.0, -1.5, -1.0, -0.5]


def test_it_is_mapped_like_an_instance():
    seen = observation()
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), seen, seen.replace(priority=jnp.ones(4)))
    assert jax.vmap(js.policies.smallest_volume)(both).shape == (2, 4)
    assert both.num_requests.tolist() == [4, 4]
