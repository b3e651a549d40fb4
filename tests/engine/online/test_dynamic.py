"""Rules that order the queue anew in every step, against the oracle."""

import functools

import chex
import jax
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


DEAR = ("with a state, evicting", "remaining", "across requests", "computed, with NaN")
NAMES = [pytest.param(each, marks=pytest.mark.slow) if each in DEAR else each for each in RULES]


@pytest.mark.parametrize("name", NAMES)
def test_random_streams_equal_the_oracle(name):
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"}
    drawn = [random_scenario(seed, max_requests=12, clock="exact", **fixed) for seed in range(300)]
    drawn = [each for each in drawn if not np.isnan(each.priority).any()]
    assert assert_equal_to_the_oracle(name, drawn) > 100


BEYOND_VLLM = {
    "chunk": {"admission": "chunk"},
    "chunk, swap": {"admission": "chunk", "preemption": "swap"},
    "look-ahead, restart": {"admission": "look_ahead", "preemption": "restart"},
    "peak, never": {"admission": "peak", "preemption": "never"},
    "last admitted": {"victim": "last_admitted", "preemption": "restart"},
    "least computed": {"victim": "least_computed", "admission": "chunk"},
    "most memory": {"victim": "most_memory"},
    "prefill first": {"prefill_first": True},
    "prefill first, chunk": {"prefill_first": True, "admission": "chunk"},
}


@pytest.mark.slow
@pytest.mark.parametrize("choices", BEYOND_VLLM.values(), ids=BEYOND_VLLM)
def test_options_beyond_vllm_equal_the_oracle(choices):
    makes_room = choices.get("admission") not in ("look_ahead", "peak")
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"} | choices
    fixed.pop("swap_s_per_token")
    drawn = [random_scenario(s, max_requests=12, clock="exact", **fixed) for s in range(300)]
    kept = [each for each in drawn if not np.isnan(each.priority).any()]
    assert_equal_to_the_oracle("remaining, evicting" if makes_room else "with a state", kept)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["response ratio", "remaining, evicting"])
def test_a_thousand_streams_with_measured_clocks(name):
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"}
    drawn = [random_scenario(s, clock="measured", **fixed) for s in range(10_000, 11_000)]
    assert_equal_to_the_oracle(name, [s for s in drawn if not np.isnan(s.priority).any()])


def a_stream(seed=0, n=20):
    rng = np.random.default_rng(seed)
    prompt, output = rng.integers(1, 60, (2, n))
    return js.Requests.from_arrays(np.sort(rng.uniform(0, 1, n)), prompt, output)


SERVER = js.servers.get("llama3.1_8b_h100").replace(kv_capacity=160, block_size=4)


def test_a_dynamic_rule_that_never_changes_its_mind_is_its_static_twin():
    reqs = js.stack([a_stream(seed) for seed in range(4)])

    def longest_prompt(obs):
        return -obs.prompt_tokens

    dynamic = js.serve(reqs, SERVER, js.policies.dynamic(longest_prompt))
    static = js.serve(reqs, SERVER, longest_prompt)
    np.testing.assert_array_equal(dynamic.completion, static.completion)
    np.testing.assert_array_equal(dynamic.num_preemptions, static.num_preemptions)


def test_a_recorded_run_takes_the_same_decisions():
    reqs, rule = a_stream(), RULES["remaining, evicting"][0]
    out, columns = js.serve(reqs, SERVER, rule, record=True)
    np.testing.assert_array_equal(out.completion, js.serve(reqs, SERVER, rule).completion)
    verdict = js.verify_service(reqs, SERVER, out, columns)
    assert verdict.is_valid, verdict


@chex.dataclass(frozen=True)
class Aged:
    """Short prompts first, with ``rate`` tokens off for each second of waiting."""

    rate: float

    def __call__(self, obs):
        return obs.prompt_tokens - self.rate * obs.waited_s


def test_parameters_may_change_without_compiling_anew_and_may_be_mapped(compiled):
    reqs, rates = a_stream(), np.array([0.0, 30.0, 1e4], np.float32)
    expected = [
        js.serve(reqs, SERVER, js.policies.dynamic(Aged(rate=rate))).completion for rate in rates
    ]
    with compiled() as events:
        js.serve(reqs, SERVER, js.policies.dynamic(Aged(rate=np.float32(7.0))))
    assert not events

    def served(rate):
        return js.serve(reqs, SERVER, js.policies.dynamic(Aged(rate=rate))).completion

    np.testing.assert_array_equal(jax.vmap(served)(rates), expected)
    np.testing.assert_array_equal(jax.jit(served)(rates[1]), expected[1])
    assert (expected[0] != expected[2]).any()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda rule: js.serve(a_stream(), SERVER.replace(admission="peak"), rule),
            ValueError,
            r"rule is 'remaining', which evicts, on a server whose admission is 'peak' .* "
            r'expected a server whose admission is "prompt" or "chunk"',
        ),
        (
            lambda rule: js.serve(a_stream(), SERVER, victim_rule=rule),
            ValueError,
            r"victim_rule is the dynamic 'remaining'; expected a static rule",
        ),
        (
            lambda rule: js.prioritize(
                js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8), rule
            ),
            TypeError,
            r"rule 'remaining' is dynamic: .* was given Instance; use it with js.serve\(",
        ),
        (
            lambda rule: js.policies.dynamic(remaining, init=counts_of_nobody),
            TypeError,
            "give both init and update for a state, or neither",
        ),
        (
            lambda rule: js.policies.dynamic("remaining"),
            TypeError,
            "a dynamic rule is a callable, not str",
        ),
        (
            lambda rule: js.serve(
                a_stream(), SERVER, js.policies.dynamic(lambda obs: obs.waited_s[:3])
            ),
            ValueError,
            r"returned float32\[3\]; expected \[20\], one priority for each request",
        ),
        (
            lambda rule: js.serve(
                a_stream(),
                SERVER,
                js.policies.dynamic(
                    lambda obs, state: state + obs.waited_s,
                    init=lambda obs: jnp.float32(0),
                    update=lambda state, obs, events: state + events.new_tokens,
                ),
            ),
            TypeError,
            r"update returned float32\[20\]; expected float32\[\], as init did",
        ),
    ],
)
def test_errors_name_the_rule_and_the_remedy(call, error, text):
    with pytest.raises(error, match=text):
        call(js.policies.dynamic(remaining, evicts=True))
