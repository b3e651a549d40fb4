"""Only times between arrivals count: a stream on the clock of the wall is served as one from 0."""

import numpy as np
import pytest

import jaxsched as js

pytestmark = pytest.mark.jax_defaults

OFFSETS = np.array([[0.0], [3.25], [1.7e9]])  # seconds that the clock holds to the last bit
ARRIVAL = np.array([0.0, 0.25, 1.0, 1.0, 3.5, 4.0, 4.25, 9.0, 9.5, 9.75, 40.0, 40.5])
PROMPT = np.array([40, 60, 20, 9, 55, 31, 12, 48, 60, 7, 33, 21])
OUTPUT = np.array([12, 7, 9, 3, 8, 1, 11, 5, 2, 6, 4, 10])
SERVER = js.Server(kv_capacity=128, max_num_seqs=3, max_num_batched_tokens=64)
P = js.policies
#: Rules that read seconds; dynamic ones compile for long.
STATIC = [
    P.earliest_deadline,
    P.aged_prompt(4.0),
    P.aged_priority(0.5),
    P.aged_size(half_tokens=16.0),
    P.gamma_boost(0.0625, 0.25, 0.5),
    P.linear_score(["log_output", "arrival_s", "log_prompt*arrival_s"], [1.0, 0.125, 0.03]),
]
DYNAMIC = [
    P.fading_prompt(0.05),
    P.highest_response_ratio(),
    P.least_slack(0.25),
    P.skip_join_mlfq(2.0, 4, 0.25, 16.0),
    P.virtual_token_counter(),
    P.least_attained_service(),
]


def streams():
    shape = OFFSETS.shape[0], ARRIVAL.size
    place = np.broadcast_to(np.arange(ARRIVAL.size), shape)
    return js.Requests.from_arrays(
        OFFSETS + ARRIVAL,
        np.broadcast_to(PROMPT, shape),
        np.broadcast_to(OUTPUT, shape),
        priority=place * 5 % 4,
        client=place % 3,
        ttft_slo_s=1.0 + place * 7 % 12,
    )


def require_alike(**rules):
    out = js.serve(streams(), SERVER, **rules)
    for times in (out.first_scheduled_s, out.first_token_s, out.completion_s):
        since = np.asarray(times) - OFFSETS
        np.testing.assert_array_equal(since[1:], since[:1].repeat(2, axis=0))


@pytest.mark.parametrize("rule", STATIC, ids=P.rule_name)
def test_static_rules(rule):
    require_alike(rule=rule)


def test_a_dynamic_rule():
    require_alike(rule=P.uniboost(0.0625, 0.25, 0.5))


@pytest.mark.slow
@pytest.mark.parametrize("rule", DYNAMIC, ids=P.rule_name)
def test_dynamic_rules(rule):
    require_alike(rule=rule)


@pytest.mark.slow
def test_a_rule_for_victims():
    require_alike(rule="fcfs", victim_rule=lambda obs: obs.arrival_s % 2.0)


@pytest.mark.slow
def test_a_rule_sees_seconds_since_the_first_arrival():
    """Who reads the clock sees the same of it: later than 20 s, the last goes first."""

    @P.dynamic
    def by_the_clock(obs):
        return obs.arrival_s * (20.0 - obs.now_s)

    require_alike(rule=by_the_clock)
