"""Rules that order the queue anew in every step, against the oracle."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import jaxsched as js
from tests.engine.online.outcomes import outcome_of, requests_of, server_of, stacked_server
from tests.engine.online.scenarios import VLLM_OPTIONS, random_scenario
from tests.engine.online.test_serve import assert_same, first_requests
from tests.reference import online
from tests.reference.online_dynamic import Rule, ordered_by

pytestmark = pytest.mark.jax_defaults

F = np.float32


def response_ratio(obs):
    return -obs.waited_s / (obs.prompt_tokens + obs.output_tokens)


class ResponseRatio(Rule):
    def number(self, stream, r):
        return -stream.waited(r) / F(stream.prompt[r] + stream.believed[r])


def remaining(obs):
    """Few left first, in three classes with ties; nobody is pushed out near the end."""
    left = jnp.maximum(obs.output_tokens - obs.generated_tokens, 1)
    return jnp.where(obs.is_running & (left < 3), -jnp.inf, (left // 4).astype(jnp.float32))


class Remaining(Rule):
    def number(self, stream, r):
        left = max(stream.believed[r] - stream.generated(r), 1)
        return -np.inf if r in stream.running and left < 3 else left // 4


class Evicting(Remaining):
    evicts = True


def share_of_longest(obs):
    """Looks across requests, so that it cannot be asked row by row."""
    longest = jnp.max(jnp.where(obs.is_real, obs.prompt_tokens, 0))
    return (longest - obs.prompt_tokens) % 5 + 100 * obs.is_running


class ShareOfLongest(Rule):
    def number(self, stream, r):
        longest = max(stream.prompt[q] for q in [*stream.running, *stream.waiting])
        return (longest - stream.prompt[r]) % 5 + 100 * (r in stream.running)


def computed_first(obs):
    """NaN once somebody has waited for long."""
    number = -obs.computed_tokens.astype(jnp.float32) + obs.priority
    return jnp.where(obs.waited_s > 40.0, jnp.nan, number)


class ComputedFirst(Rule):
    def number(self, stream, r):
        return np.nan if stream.waited(r) > 40.0 else -stream.computed[r] + stream.priority[r]


def counts_of_nobody(obs):
    zero = jnp.zeros(obs.prompt_tokens.shape, jnp.int32)
    return {"arrived": zero, "evicted": zero, "served": zero, "seconds": jnp.float32(0)}


def count(state, obs, events):
    """Every event moves some number, of the request or of all."""
    done = jnp.sum(events.completed, dtype=jnp.int32)
    return {
        "arrived": state["arrived"] + jnp.sum(events.arrived, dtype=jnp.int32),
        "evicted": state["evicted"] + events.evicted + 2 * events.admitted,
        "served": state["served"] + events.computed_tokens + 3 * events.new_tokens + 7 * done,
        "seconds": state["seconds"] + events.step_s * obs.is_real.sum(),
    }


def by_counts(obs, state):
    whole = state["arrived"] + 2 * state["evicted"] + state["served"]
    return ((whole + obs.prompt_tokens) % 11).astype(jnp.float32) + state["seconds"] % 4.0


class ByCounts(Rule):
    def begin(self, stream):
        n = len(stream.prompt)
        self.arrived, self.seconds = 0, 0.0
        self.evicted, self.served = [0] * n, [0] * n

    def arrive(self, stream, arrived):
        self.arrived += len(arrived)

    def end_step(self, stream, duration):
        for r in stream.evicted:
            self.evicted[r] += 1
        for r in stream.admitted:
            self.evicted[r] += 2
        for r, tokens in stream.grants.items():
            self.served[r] += tokens + 3 * (r in stream.sampled)
        for r in range(len(stream.prompt)):
            self.served[r] += 7 * len(stream.ended)
        at_server = len(stream.running) + len(stream.ended) + len(stream.waiting)
        self.seconds = F(self.seconds) + F(duration) * F(at_server)

    def number(self, stream, r):
        whole = self.arrived + 2 * self.evicted[r] + self.served[r]
        return F((whole + stream.prompt[r]) % 11) + F(self.seconds) % F(4.0)


RULES = {
    "with a state": (
        js.policies.dynamic(by_counts, init=counts_of_nobody, update=count),
        ByCounts(),
    ),
    "with a state, evicting": (
        js.policies.dynamic(by_counts, init=counts_of_nobody, update=count, evicts=True),
        type("Evicting", (ByCounts,), {"evicts": True})(),
    ),
    "response ratio": (js.policies.dynamic(response_ratio), ResponseRatio()),
    "remaining": (js.policies.dynamic(remaining), Remaining()),
    "remaining, evicting": (js.policies.dynamic(remaining, evicts=True), Evicting()),
    "across requests": (js.policies.dynamic(share_of_longest), ShareOfLongest()),
    "computed, with NaN": (js.policies.dynamic(computed_first), ComputedFirst()),
}


def assert_equal_to_the_oracle(name, scenarios):
    rule, plain = RULES[name]
    reqs = js.stack(
        [
            requests_of(each, priority=each.priority, predicted_output_tokens=each.predicted)
            for each in scenarios
        ]
    )
    server = stacked_server([server_of(each) for each in scenarios])
    out = js.serve(reqs, server, rule, max_steps=scenarios[0].max_steps)
    serve = functools.partial(online.serve, kind=ordered_by(plain))
    evictions = 0
    for number, scenario in enumerate(scenarios):
        expected = outcome_of(scenario, scenario.log(serve))
        evictions += expected.num_preemptions.sum()
        assert_same(first_requests(out[number], len(scenario.prompt)), expected, number)
    return evictions


@pytest.mark.parametrize("name", RULES)
def test_random_streams_equal_the_oracle(name):
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"}
    drawn = [random_scenario(seed, max_requests=12, clock="exact", **fixed) for seed in range(300)]
    drawn = [each for each in drawn if not np.isnan(each.priority).any()]
    assert assert_equal_to_the_oracle(name, drawn) > 100
