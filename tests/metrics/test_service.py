"""Service metrics against loops over the tokens of the oracle's logs."""

import jax
import numpy as np
import pytest

import jaxsched as js
from tests.engine.online.outcomes import outcome_of, requests_of, server_of
from tests.engine.online.scenarios import random_scenario
from tests.reference import service_metrics as reference

NUM_SEEDS = 300


def streams(seeds, **fixed):
    """Scenarios, their logs, and both as requests and outcomes."""
    for seed in seeds:
        scenario = random_scenario(seed, **fixed)
        log = scenario.log()
        yield scenario, log, requests_of(scenario), outcome_of(scenario, log)


def is_exact(name):
    return not (name.startswith("p") and name.endswith("itl_s"))


def assert_equal(measures, expected, message):
    assert set(measures) >= set(expected), message
    for name, value in expected.items():
        rtol = 1e-9 if is_exact(name) else 0.01
        np.testing.assert_allclose(
            measures[name], value, rtol=rtol, atol=1e-12, err_msg=(message, name)
        )


def with_padding(tree, n):
    """Requests or an outcome ``[n']`` with padding behind, told apart by ``is_real``."""
    rows = tree.is_real.shape[0]

    def padded(leaf):
        return np.concatenate([leaf, np.ones(n - rows, leaf.dtype)])

    padding = {
        name: padded(np.asarray(leaf))
        for name, leaf in vars(tree).items()
        if np.shape(leaf) == (rows,)
    }
    padding["is_real"] = np.arange(n) < rows
    return tree.replace(**padding)


def stacked(trees, n):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *[with_padding(t, n) for t in trees])


def random_targets(seed, n):
    rng = np.random.default_rng(seed)
    return {
        name: np.exp(rng.normal(1.0, 2.0, n))
        for name in ("ttft_slo_s", "tpot_slo_s", "e2e_slo_s")
        if rng.random() < 0.7
    }


def test_every_metric_equals_loops_over_tokens():
    finished = 0
    for seed, (scenario, log, reqs, out) in enumerate(streams(range(NUM_SEEDS))):
        targets = random_targets(seed, len(scenario.prompt))
        measures = js.metrics.service_summary(reqs, out, server=server_of(scenario), **targets)
        expected = reference.summary(scenario, log, **targets)
        assert_equal(measures, expected, seed)
        assert all(value.shape == () for value in measures.values())
        finished += log.status == "ok" and log.num_preemptions > 0
    assert finished > NUM_SEEDS / 10


@pytest.mark.slow
def test_a_window_keeps_requests_that_arrive_in_it():
    cut = 0
    for seed, (scenario, log, reqs, out) in enumerate(streams(range(NUM_SEEDS))):
        times = sorted(set(scenario.arrival_s))
        window = (times[len(times) // 4], times[-1] if len(times) > 1 else np.inf)
        targets = {"ttft_slo_s": np.full(len(scenario.prompt), 2.0)}
        measures = js.metrics.service_summary(
            reqs, out, server=server_of(scenario), window=window, **targets
        )
        expected = reference.summary(scenario, log, window=window, **targets)
        assert_equal(measures, expected, seed)
        assert "p99_itl_s" not in measures
        cut += expected["num_requests"] < len(scenario.prompt)
    assert cut > NUM_SEEDS / 2


@pytest.mark.parametrize("leading", [(24,), (4, 6)])
def test_many_streams_at_once_equal_one_after_another(leading):
    parts = list(streams(range(1000, 1024), max_model_len=2**30))
    reqs, outs = [part[2] for part in parts], [part[3] for part in parts]
    batch = js.metrics.service_summary(
        *(
            jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), stacked(trees, 12))
            for trees in (reqs, outs)
        ),
        ttft_slo_s=3.0,
    )
    for at, (req, out) in enumerate(zip(reqs, outs, strict=True)):
        one = js.metrics.service_summary(req, out, ttft_slo_s=3.0)
        for name, value in one.items():
            assert batch[name].shape == leading
            np.testing.assert_allclose(batch[name].ravel()[at], value, rtol=1e-14, err_msg=name)


def test_requests_and_a_server_are_broadcast_to_the_outcome():
    scenario, _, reqs, out = next(streams([5], max_model_len=2**30))
    server = server_of(scenario)
    twice = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), out)
    grid = server.replace(kv_capacity=np.array([server.kv_capacity, 2 * server.kv_capacity]))
    measures = js.metrics.service_summary(reqs, twice, server=grid)
    one = js.metrics.service_summary(reqs, out, server=server)
    assert measures["peak_kv_share"].tolist() == [one["peak_kv_share"], one["peak_kv_share"] / 2]
    assert measures["mean_slowdown"].tolist() == [one["mean_slowdown"]] * 2


def outcome(arrival, scheduled, first, last, status=0):
    arrival = np.array(arrival, float)
    return js.Outcome(
        arrival=arrival,
        first_scheduled=np.array(scheduled, float),
        first_token=np.array(first, float),
        completion=np.array(last, float),
        num_preemptions=np.zeros(arrival.size, int),
        status=np.broadcast_to(status, arrival.shape),
        is_real=np.ones(arrival.size, bool),
    )


REQS = js.Requests.from_arrays([0.0, 1.0, 2.0], [10, 20, 30], [5, 1, 3])
OUT = outcome([0, 1, 2], [0, 2, 3], [1, 4, 4], [3, 4, 10])


def test_hand_worked_streams():
    measures = js.metrics.service_summary(REQS, OUT, ttft_slo_s=2.0, tpot_slo_s=1.0)
    assert {
        name: measures[name].item()
        for name in (
            "mean_ttft_s",
            "p50_ttft_s",
            "mean_tpot_s",
            "max_tpot_s",
            "mean_itl_s",
            "mean_e2e_s",
            "mean_queueing_s",
            "mean_normalized_latency_s",
            "duration_s",
            "throughput_requests_per_s",
            "throughput_tokens_per_s",
            "throughput_total_tokens_per_s",
            "goodput_requests_per_s",
            "attainment",
        )
    } == pytest.approx(
        {
            "mean_ttft_s": 2.0,
            "p50_ttft_s": 2.0,
            "mean_tpot_s": (0.5 + 3.0) / 2,  # one output token has no TPOT
            "max_tpot_s": 3.0,
            "mean_itl_s": (2 + 6) / (4 + 2),
            "mean_e2e_s": (3 + 3 + 8) / 3,
            "mean_queueing_s": 2 / 3,
            "mean_normalized_latency_s": (3 / 5 + 3 + 8 / 3) / 3,
            "duration_s": 10.0,
            "throughput_requests_per_s": 0.3,
            "throughput_tokens_per_s": 0.9,
            "throughput_total_tokens_per_s": 6.9,
            "goodput_requests_per_s": 0.1,
            "attainment": 1 / 3,
        }
    )
    assert not {"max_itl_s", "p99_itl_s", "num_steps", "busy_share"} & set(measures)


def test_targets_of_the_requests_count_where_none_are_given():
    own = REQS.replace(
        ttft_slo_s=np.float32([1, 1, np.inf]), tpot_slo_s=np.float32([0.25, 0.25, 3.0])
    )
    assert js.metrics.service_summary(own, OUT)["attainment"] == 1 / 3
    assert js.metrics.service_summary(own, OUT, ttft_slo_s=3.0)["attainment"] == 2 / 3
    assert js.metrics.service_summary(own, OUT, tpot_slo_s=9.0)["attainment"] == 2 / 3
    assert js.metrics.service_summary(own, OUT, e2e_slo_s=7.0)["attainment"] == 0
    assert "attainment" not in js.metrics.service_summary(REQS, OUT)


def test_refused_and_unfinished_requests_are_missed():
    status = [js.Status.OK, js.Status.REFUSED, js.Status.STEP_LIMIT]
    lost = np.where(np.array(status) == 0, OUT.completion, np.nan)
    out = OUT.replace(status=np.array(status), completion=lost)
    measures = js.metrics.service_summary(REQS, out, e2e_slo_s=100.0)
    assert [measures[f"num_{kind}"].item() for kind in ("requests", "refused", "unfinished")] == [
        3,
        1,
        1,
    ]
    assert measures["attainment"] == 1 / 3
    assert measures["mean_e2e_s"] == 3.0


def test_nothing_served_is_no_error():
    out = OUT.replace(status=np.full(3, js.Status.REFUSED), completion=np.full(3, np.nan))
    measures = js.metrics.service_summary(REQS, out, e2e_slo_s=100.0)
    assert np.isnan([measures["mean_ttft_s"], measures["p99_e2e_s"], measures["duration_s"]]).all()
    assert measures["attainment"] == measures["goodput_requests_per_s"] == 0


def test_a_backlog_read_by_a_clock_has_service_metrics():
    inst = js.workloads.uniform(jax.random.key(0), batch=3)
    sched = js.simulate(inst, inst.output_tokens)
    clock = js.clock.PRESETS["llama2_70b_2xa100"]
    out = js.Outcome.from_schedule(inst, sched, clock)
    measures = js.metrics.service_summary(js.Requests.of_backlog(inst), out)
    backlog = js.metrics.summary(inst, sched, clock)
    for name, other in {
        "mean_e2e_s": "mean_latency_s",
        "p99_e2e_s": "p99_latency_s",
        "mean_ttft_s": "mean_ttft_s",
        "duration_s": "makespan_s",
        "throughput_tokens_per_s": "throughput_tokens_per_s",
    }.items():
        np.testing.assert_allclose(measures[name], backlog[other], rtol=1e-12)


class TestErrors:
    def test_rounds(self):
        inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
        out = js.Outcome.from_schedule(inst, js.Schedule.from_starts(inst, [0, 1]))
        with pytest.raises(ValueError, match="the outcome counts rounds; expected seconds"):
            js.metrics.service_summary(js.Requests.of_backlog(inst), out)

    def test_other_requests(self):
        with pytest.raises(ValueError, match=r"arrival\[1\] is 1.0; expected the arrival_s of"):
            js.metrics.service_summary(REQS.replace(arrival_s=np.array([0.0, 1.5, 2.0])), OUT)
        two = js.Requests.from_arrays([0.0, 1.0], [1, 1], [1, 1])
        with pytest.raises(ValueError, match=r"outcome has shape \(3,\) but the requests have"):
            js.metrics.service_summary(two, OUT)

    def test_a_completion_that_is_missing(self):
        out = OUT.replace(completion=np.array([3.0, np.nan, 10.0]))
        with pytest.raises(ValueError, match=r"completion\[1\] is nan; expected seconds, since"):
            js.metrics.service_summary(REQS, out)

    def test_padding_that_differs(self):
        with pytest.raises(ValueError, match=r"is_real\[0\] is False; expected that of the req"):
            js.metrics.service_summary(REQS, OUT.replace(is_real=np.array([False, True, True])))

    @pytest.mark.parametrize("slo", [0.0, -1.0, np.nan])
    def test_targets(self, slo):
        with pytest.raises(ValueError, match=r"tpot_slo_s is .*; expected seconds > 0"):
            js.metrics.service_summary(REQS, OUT, tpot_slo_s=slo)

    def test_shape_of_targets(self):
        with pytest.raises(ValueError, match=r"ttft_slo_s has shape \(2,\); expected one number"):
            js.metrics.service_summary(REQS, OUT, ttft_slo_s=[1.0, 2.0])

    def test_windows(self):
        with pytest.raises(ValueError, match=r"window is \(2, 1\); expected \(t0, t1\)"):
            js.metrics.service_summary(REQS, OUT, window=(2, 1))
        with pytest.raises(ValueError, match=r"window is \(5, 6\), when no request arrives; exp"):
            js.metrics.service_summary(REQS, OUT, window=(5, 6))

    def test_a_server_of_another_shape(self):
        server = js.Server(kv_capacity=np.array([100, 200]))
        with pytest.raises(ValueError, match=r"a number of the server has shape \(2,\) but the"):
            js.metrics.service_summary(REQS, OUT, server=server)

    def test_a_histogram_of_other_edges(self):
        out = OUT.replace(itl_histogram=np.zeros(10, int))
        with pytest.raises(ValueError, match=r"itl_histogram has shape \(1, 10\); expected \[.., "):
            js.metrics.service_summary(REQS, out)


def test_histogram_percentiles_are_within_one_percent():
    rng = np.random.default_rng(0)
    edges = js.metrics.ITL_EDGES_S
    for seed in range(100):
        gaps = np.exp(rng.normal(rng.uniform(-6, 2), rng.uniform(0.0, 2.5), rng.integers(1, 400)))
        gaps = np.clip(gaps, edges[0], np.nextafter(edges[-1], 0))
        counts = np.histogram(gaps, edges)[0]
        out = OUT.replace(itl_histogram=counts)
        measures = js.metrics.service_summary(REQS, out)
        for percent in (50, 90, 95, 99):
            expected = np.percentile(gaps, percent)
            assert measures[f"p{percent}_itl_s"] == pytest.approx(expected, rel=0.0091), seed
