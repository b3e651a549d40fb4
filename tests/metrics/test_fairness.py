"""Fairness between clients against loops over all pairs of moments."""

import jax
import numpy as np
import pytest

import jaxsched as js
from tests.engine.online.outcomes import outcome_of, requests_of
from tests.engine.online.scenarios import random_scenario
from tests.reference import service_metrics as reference

NUM_SEEDS = 200


def stream(seed, num_clients=3):
    scenario = random_scenario(seed, max_requests=8, max_model_len=2**30)
    log = scenario.log()
    rng = np.random.default_rng(seed)
    client = rng.integers(0, num_clients, len(scenario.prompt))
    return requests_of(scenario, client=client), outcome_of(scenario, log), log


def expected(reqs, out, log):
    return reference.fairness(
        [
            {
                "client": int(reqs.client[r]),
                "prompt": int(reqs.prompt_tokens[r]),
                "output": int(reqs.output_tokens[r]),
                "status": log.out_status[r],
                **{
                    name: float(getattr(out, name)[r])
                    for name in ("arrival", "first_scheduled", "first_token", "completion")
                },
            }
            for r in range(len(log.out_status))
        ]
    )


def test_fairness_equals_loops_over_pairs_of_moments():
    unequal = 0
    for seed in range(NUM_SEEDS):
        reqs, out, log = stream(seed)
        fairness = js.metrics.service_fairness(reqs, out)._asdict()
        for name, value in expected(reqs, out, log).items():
            np.testing.assert_allclose(fairness[name], value, rtol=1e-9, err_msg=(seed, name))
        unequal += fairness["largest_difference"] > 0
    assert unequal > NUM_SEEDS / 4


def test_streams_and_clients_that_some_lack():
    shape = (2, 3)
    rng = np.random.default_rng(0)
    arrival = np.sort(rng.random((*shape, 6)), axis=-1)
    reqs = js.Requests.from_arrays(
        arrival,
        rng.integers(1, 9, (*shape, 6)),
        rng.integers(1, 9, (*shape, 6)),
        client=10 * rng.integers(0, 3, (*shape, 6)),
    )
    scheduled = arrival + rng.random(arrival.shape)
    out = js.Outcome(
        arrival=arrival,
        first_scheduled=scheduled,
        first_token=scheduled + 1,
        completion=scheduled + 2,
        num_preemptions=np.zeros(arrival.shape, int),
        status=np.zeros(arrival.shape, int),
        is_real=np.ones(arrival.shape, bool),
    )
    together = js.metrics.service_fairness(reqs, out)
    assert together.client.tolist() == [0, 10, 20]
    assert together.service.shape == (2, 3, 3)
    for at in np.ndindex(*shape):
        alone = js.metrics.service_fairness(reqs[at], out[at])
        present = np.isin(together.client, alone.client)
        np.testing.assert_array_equal(together.service[at][present], alone.service)
        assert not together.num_requests[at][~present].any()
        for name in ("largest_difference", "jain_service", "jain_ttft"):
            assert getattr(together, name)[at] == pytest.approx(getattr(alone, name), rel=1e-12)


def test_a_hand_worked_stream():
    # Client 1 waits from 0 to 10, client 0 from 0 to 4 and from 5 to 9. In the first of these
    # times client 0 gets a prompt of 7 and two tokens; in the second nobody gets anything.
    reqs = js.Requests.from_arrays(
        [0.0, 0.0, 0.0, 5.0], [7, 3, 5, 1], [2, 1, 1, 1], client=[0, 0, 1, 0]
    )
    out = js.Outcome(
        arrival=np.array([0.0, 0.0, 0.0, 5.0]),
        first_scheduled=np.array([0.0, 4.0, 10.0, 9.0]),
        first_token=np.array([2.0, 5.0, 11.0, 10.0]),
        completion=np.array([3.0, 5.0, 11.0, 10.0]),
        num_preemptions=np.zeros(4, int),
        status=np.zeros(4, int),
        is_real=np.ones(4, bool),
    )
    fairness = js.metrics.service_fairness(reqs, out)
    assert fairness.service.tolist() == [7 + 4 + 3 + 2 + 1 + 2, 5 + 2]
    assert fairness.largest_difference == 7 + 2 * 2
    assert fairness.mean_ttft_s.tolist() == pytest.approx([(2 + 5 + 5) / 3, 11.0])
    assert fairness.jain_service == pytest.approx(26**2 / (2 * (19**2 + 7**2)))


def test_outputs_that_the_server_cut_count_as_cut():
    reqs, out, _ = stream(0)
    longest = int(np.max(reqs.prompt_tokens)) + 2
    server = js.Server(kv_capacity=10_000, max_model_len=longest)
    cut = reqs.replace(
        output_tokens=np.minimum(reqs.output_tokens, longest - np.asarray(reqs.prompt_tokens))
    )
    fairness = js.metrics.service_fairness(reqs, out, server=server)
    for name, value in js.metrics.service_fairness(cut, out)._asdict().items():
        np.testing.assert_array_equal(getattr(fairness, name), value)


def test_requests_without_clients_are_refused():
    reqs, out, _ = stream(0)
    with pytest.raises(ValueError, match=r"reqs\.client is missing; give Requests.from_arrays"):
        js.metrics.service_fairness(reqs.replace(client=None), out)


def test_padding_belongs_to_no_client():
    reqs, out, _ = stream(1)
    n = reqs.is_real.shape[0]

    def padded(tree):
        def longer(leaf):
            return np.append(leaf, leaf[-1:]) if np.shape(leaf) == (n,) else leaf

        return jax.tree.map(longer, tree).replace(is_real=np.arange(n + 1) < n)

    fairness = js.metrics.service_fairness(padded(reqs), padded(out))
    for name, value in js.metrics.service_fairness(reqs, out)._asdict().items():
        np.testing.assert_array_equal(getattr(fairness, name), value)
