"""Rules for requests that arrive, each against a plain-Python form of its own in the oracle."""

import math

import jax
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


class AgedPrompt(Rule):
    def number(self, stream, r):
        return stream.prompt[r] - 0.5 * (stream.clock - stream.arrival[r])


class AgedPriority(Rule):
    def number(self, stream, r):
        return stream.priority[r] - 0.125 * (stream.clock - stream.arrival[r])


class AgedSize(Rule):
    def number(self, stream, r):
        waited = stream.clock - stream.arrival[r]
        return -(0.5 / (1 + stream.prompt[r] / 16) + 0.5 * waited / 64)


class FadingPrompt(Rule):
    def number(self, stream, r):
        left = stream.known[r] - stream.computed[r]
        return F(left) * max(F(1) - F(0.125) * stream.waited(r), F(0))


class ResponseRatio(Rule):
    def number(self, stream, r):
        return -stream.waited(r) / F(stream.prompt[r] + 2 * stream.believed[r])


class TokenRatio(Rule):
    def begin(self, stream):
        self.tokens, self.arrived = 0, {}

    def arrive(self, stream, arrived):
        self.arrived |= dict.fromkeys(arrived, self.tokens)

    def end_step(self, stream, duration):
        for r, tokens in stream.grants.items():
            if stream.generated(r) - (r in stream.sampled) == 0:
                self.tokens += tokens

    def number(self, stream, r):
        left = stream.known[r] - stream.computed[r]
        return -F(self.tokens - self.arrived[r]) / F(max(left, 1))


def boost(gamma, work_s):
    return math.log(1 / (1 - math.exp(-gamma * work_s))) / gamma


class GammaBoost(Rule):
    def number(self, stream, r):
        work = 0.25 * stream.prompt[r] + 0.5 * stream.believed[r]
        return stream.arrival[r] - boost(0.0625, work)


class Uniboost(Rule):
    def number(self, stream, r):
        work = 0.25 * stream.prompt[r] + 0.5 * stream.generated(r)
        return stream.arrival[r] - boost(0.0625, work)


class EvictingUniboost(Uniboost):
    evicts = True


def due_after_s(prompt):
    """Targets in the tests; every third request has none."""
    return math.inf if prompt % 3 == 0 else 1.0 + prompt % 7


class EarliestDeadline(Rule):
    def number(self, stream, r):
        return stream.arrival[r] + due_after_s(stream.prompt[r])


class LeastSlack(Rule):
    def number(self, stream, r):
        left = stream.known[r] - stream.computed[r]
        return due_after_s(stream.prompt[r]) - stream.waited(r) - F(0.25) * left


class ShortestRemaining(Rule):
    evicts = True

    def number(self, stream, r):
        generated, believed = stream.generated(r), stream.believed[r]
        if r in stream.running and generated >= 0.75 * believed:
            return -math.inf
        return max(believed - generated, 1)


class LeastBelieved(Rule):
    def number(self, stream, r):
        return stream.believed[r]


class SmallestVolume(Rule):
    def number(self, stream, r):
        output = F(stream.believed[r])
        return stream.prompt[r] * output + output * (output + 1) / 2


class AMin(Rule):
    def begin(self, stream):
        self.least = list(stream.believed)
        self.generated = [0] * len(stream.prompt)

    def end_step(self, stream, duration):
        for r in stream.evicted:
            self.least[r] = max(self.least[r], self.generated[r])
        self.generated = [stream.generated(r) for r in range(len(stream.prompt))]

    def number(self, stream, r):
        return -self.least[r] if r in stream.running else self.least[r]


class SkipJoin(Rule):
    evicts = True

    def begin(self, stream):
        n = len(stream.prompt)
        self.level, self.used, self.last = [0] * n, [0.0] * n, [0.0] * n

    def arrive(self, stream, arrived):
        for r in arrived:
            while self.level[r] < 3 and 2.0 * 2 ** self.level[r] < 0.25 * stream.prompt[r]:
                self.level[r] += 1
            self.last[r] = F(stream.clock)
        self._raise(stream, F(stream.clock))

    def end_step(self, stream, duration):
        end = F(stream.clock + duration)
        for r in stream.grants:
            self.last[r] = end
            self.used[r] = F(self.used[r]) + F(duration)
            if self.used[r] >= 2.0 * 2 ** self.level[r]:
                self.level[r], self.used[r] = min(self.level[r] + 1, 3), 0.0
        self._raise(stream, end)

    def _raise(self, stream, now):
        for r in [*stream.running, *stream.waiting, *stream.ended]:
            if now - self.last[r] >= 16.0:
                self.level[r], self.used[r], self.last[r] = 0, 0.0, now

    def number(self, stream, r):
        return self.level[r]


class Slices(Rule):
    evicts = True

    def begin(self, stream):
        self.most = [0] * len(stream.prompt)

    def end_step(self, stream, duration):
        self.most = [max(m, stream.generated(r)) for r, m in enumerate(self.most)]

    def number(self, stream, r):
        level = max(self.most[r], 1).bit_length() - 1
        part = F(stream.prompt[r]) / F(
            stream.settings.usable_blocks * stream.settings.block_size + 1
        )
        return F(level) + part


def client_of(r):
    return r * 7 % 3


class TokenCounter(Rule):
    """The loop of the paper: the client of the least counter gives its first request."""

    def begin(self, stream):
        self.counter = [0.0] * 3

    def arrive(self, stream, arrived):
        queued = {client_of(r) for r in stream.waiting if r not in arrived}
        least = min((self.counter[u] for u in queued), default=None)
        for u in {client_of(r) for r in arrived} - queued:
            if least is not None:
                self.counter[u] = max(self.counter[u], least)

    def end_step(self, stream, duration):
        for r in stream.admitted:
            self.counter[client_of(r)] += stream.prompt[r]
        for r in stream.sampled:
            self.counter[client_of(r)] += 2

    def number(self, stream, r):
        if r in stream.running:
            return self.counter[client_of(r)]
        ahead = [q for q in stream.waiting if q < r and client_of(q) == client_of(r)]
        return self.counter[client_of(r)] + sum(stream.prompt[q] for q in ahead)


class AttainedService(Rule):
    def begin(self, stream):
        self.service = [F(0)] * 3

    def end_step(self, stream, duration):
        self.service = [each * np.exp2(-F(duration) / F(64)) for each in self.service]
        for r, tokens in stream.grants.items():
            is_sampled = r in stream.sampled
            prompt = 0 if is_sampled and tokens == 1 else tokens
            self.service[client_of(r)] += F(prompt + 2 * is_sampled)

    def number(self, stream, r):
        everybody = [*stream.running, *stream.waiting]
        most = max(max(self.service[client_of(q)] for q in everybody), F(1e-9))
        longest = max(max(stream.waited(q) for q in everybody), F(1e-9))
        share = F(0.75) * (self.service[client_of(r)] / most)
        return share - F(0.25) * (stream.waited(r) / longest)


P = js.policies
RULES = {
    "aged_prompt": (P.aged_prompt(0.5), AgedPrompt()),
    "aged_priority": (P.aged_priority(0.125), AgedPriority()),
    "aged_size": (P.aged_size(half_tokens=16, wait_unit_s=64), AgedSize()),
    "fading_prompt": (P.fading_prompt(0.125), FadingPrompt()),
    "highest_response_ratio": (P.highest_response_ratio(), ResponseRatio()),
    "token_response_ratio": (P.token_response_ratio(), TokenRatio()),
    "gamma_boost": (P.gamma_boost(0.0625, 0.25, 0.5), GammaBoost()),
    "uniboost": (P.uniboost(0.0625, 0.25, 0.5), Uniboost()),
    "uniboost, evicting": (P.uniboost(0.0625, 0.25, 0.5, evicts=True), EvictingUniboost()),
    "earliest_deadline": (P.earliest_deadline, EarliestDeadline()),
    "least_slack": (P.least_slack(0.25), LeastSlack()),
    "shortest_remaining": (P.shortest_remaining(0.75), ShortestRemaining()),
    "shortest_output": (P.shortest_output, LeastBelieved()),
    "smallest_volume": (P.smallest_volume, SmallestVolume()),
    "a_max": (P.a_max, LeastBelieved()),
    "a_min": (P.a_min(), AMin()),
    "skip_join_mlfq": (P.skip_join_mlfq(2.0, 4, 0.25, 16.0), SkipJoin()),
    "geometric_slicing": (P.geometric_slicing(), Slices()),
    "virtual_token_counter": (P.virtual_token_counter(), TokenCounter()),
    "least_attained_service": (P.least_attained_service(64.0, 0.75), AttainedService()),
}
DEFAULT = ("aged_prompt", "virtual_token_counter")
SERVERS = {
    "a_min": {"admission": "look_ahead", "preemption": "restart"},
    "a_max": {"admission": "peak"},
}
SERVERS |= {
    "shortest_output": {"admission": "look_ahead"},
    "geometric_slicing": {"preemption": "restart"},
}
SERVERS |= {"skip_join_mlfq": {"preemption": "swap"}}


def targets(scenario):
    return [due_after_s(each) for each in scenario.prompt]


@pytest.mark.parametrize(
    "name",
    [each if each in DEFAULT else pytest.param(each, marks=pytest.mark.slow) for each in RULES],
)
def test_streams_equal_the_oracle_under_the_plain_form(name):
    rule, plain = RULES[name]
    fixed = VLLM_OPTIONS | {"policy": "fcfs", "admission": "prompt"} | SERVERS.get(name, {})
    if name in SERVERS:
        fixed.pop("swap_s_per_token")
    drawn = [random_scenario(s, max_requests=12, clock="exact", **fixed) for s in range(300)]
    drawn = [each for each in drawn if not np.isnan(each.priority).any()]
    reqs = js.stack(
        [
            requests_of(
                each,
                priority=each.priority,
                predicted_output_tokens=each.predicted,
                client=[client_of(r) for r in range(len(each.prompt))],
                ttft_slo_s=targets(each),
            )
            for each in drawn
        ]
    )
    server = stacked_server([server_of(each) for each in drawn])
    out = js.serve(reqs, server, rule, max_steps=drawn[0].max_steps)
    for number, scenario in enumerate(drawn):
        log = scenario.log(
            lambda *given, **named: online.serve(*given, kind=ordered_by(plain), **named)
        )
        expected = outcome_of(scenario, log)
        assert_same(first_requests(out[number], len(scenario.prompt)), expected, f"{name} {number}")


@pytest.mark.parametrize("name", {each.partition(",")[0]: None for each in RULES})
def test_the_name_is_registered(name):
    assert js.policies.info(name).name == name
    assert js.policies.rule_name(js.policies.make(name)) == name


KEEP_A_STATE = [name for name, (rule, _) in RULES.items() if getattr(rule, "has_state", False)]


@pytest.mark.slow
@pytest.mark.parametrize("name", KEEP_A_STATE)
def test_rules_with_a_state_keep_the_contract(name):
    by_arrival = name == "virtual_token_counter"  # those who wait behind others of their client
    js.testing.check_policy(RULES[name][0], uses_row_order=by_arrival)


def test_what_falls_by_a_constant_rate_is_a_static_order():
    reqs = js.Requests.from_arrays(np.arange(12.0), np.arange(12) * 5 % 12 + 1, [6] * 12)
    server = js.Server(kv_capacity=32)
    aged = js.policies.dynamic(lambda obs: obs.prompt_tokens - 0.5 * obs.waited_s)
    np.testing.assert_array_equal(
        js.serve(reqs, server, aged).completion,
        js.serve(reqs, server, js.policies.aged_prompt(0.5)).completion,
    )


def test_parameters_are_leaves():
    assert [leaf.dtype for leaf in jax.tree.leaves(js.policies.gamma_boost())] == ["float32"] * 3
    assert len(jax.tree.leaves(js.policies.skip_join_mlfq())) == 4
