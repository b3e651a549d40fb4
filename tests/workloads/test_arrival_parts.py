"""Classes, the cut that metrics honor, another rate, and what a stream is like."""

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.workloads.arrivals import at_rate, clients, cut, describe, gamma, with_classes

KEY = jax.random.key(9)
INST = js.workloads.chat(jax.random.key(0), 300, batch=2)
REQS = gamma(KEY, INST, 40.0, cv=2.0)
SERVER = js.servers.get("llama3.1_8b_h100").replace(max_num_seqs=4)


@pytest.fixture(scope="module")
def served():
    return js.serve(REQS, SERVER, "fcfs")


class TestCut:
    def test_the_server_works_for_those_who_are_cut(self, served):
        out = js.serve(cut(REQS), SERVER, "fcfs")
        for name in ("first_token", "completion", "status"):
            np.testing.assert_array_equal(getattr(out, name), getattr(served, name))

    def test_metrics_are_of_the_others_alone(self, served):
        reqs = cut(REQS, warm_up=0.2, cool_down=0.1)
        found = js.metrics.service_summary(reqs, served, ttft_slo_s=0.1)
        middle = slice(60, 270)
        ttft_s = np.asarray(served.first_token - served.arrival)[:, middle]
        np.testing.assert_allclose(found["mean_ttft_s"], ttft_s.mean(axis=-1))
        np.testing.assert_allclose(found["p99_ttft_s"], np.percentile(ttft_s, 99, axis=-1))
        np.testing.assert_array_equal(found["num_requests"], [210, 210])
        np.testing.assert_allclose(found["attainment"], (ttft_s <= 0.1).mean(axis=-1))
        arrival_s, end_s = (
            np.asarray(each)[:, middle] for each in (served.arrival, served.completion)
        )
        duration_s = end_s.max(axis=-1) - arrival_s[:, 0]
        np.testing.assert_allclose(found["throughput_requests_per_s"], 210 / duration_s)
        whole = js.metrics.service_summary(REQS, served)
        for name in ("num_steps", "busy_share", "peak_kv_tokens"):
            np.testing.assert_array_equal(found[name], whole[name])
        assert "p99_itl_s" in whole
        assert "p99_itl_s" not in found

    def test_a_comparison_says_so(self):
        found = js.compare(cut(REQS), ["fcfs"], server=SERVER)
        assert "latencies and counts are of 80% of requests, after a cut" in str(found)

    def test_it_counts_real_requests_rounds_down_and_adds_up(self):
        one = js.Requests.from_arrays(np.arange(30.0), [5] * 30, [1] * 30)
        few = js.Requests.from_arrays(np.arange(7.0), [5] * 7, [1] * 7)
        both = cut(js.stack([one, few]))
        assert np.asarray(both.is_counted).sum(axis=-1).tolist() == [24, 7]
        both = cut(both, warm_up=np.array([0.0, 0.5]), cool_down=0.0)
        assert np.flatnonzero(both.is_counted[1]).tolist() == [3, 4, 5, 6]
        assert np.asarray(both.is_counted).sum(axis=-1).tolist() == [24, 4]
        traced = jax.jit(lambda share: cut(one, warm_up=share).is_counted)(0.1)
        np.testing.assert_array_equal(traced, both.is_counted[0])

    def test_it_is_kept_in_a_file(self, tmp_path):
        cut(REQS).save(tmp_path / "reqs.npz")
        loaded = js.Requests.load(tmp_path / "reqs.npz")
        np.testing.assert_array_equal(loaded.is_counted, cut(REQS).is_counted)

    @pytest.mark.parametrize(
        ("shares", "message"),
        [
            ({"warm_up": -0.1}, "warm_up is -0.1; expected a share from 0 up to 1"),
            ({"warm_up": 0.6, "cool_down": 0.4}, "warm_up \\+ cool_down is 1; expected less than"),
            ({"cool_down": [0.1]}, r"cool_down has shape \(1,\)"),
        ],
    )
    def test_wrong_shares_are_named(self, shares, message):
        with pytest.raises(ValueError, match=message):
            cut(REQS, **shares)

    def test_flags_of_another_kind_or_of_nobody_are_refused(self, served):
        with pytest.raises(ValueError, match="is_counted has dtype int64; expected truth values"):
            js.Requests.from_arrays([0.0], [1], [1], is_counted=[1])
        nobody = REQS.replace(is_counted=np.zeros(REQS.is_real.shape, bool))
        with pytest.raises(ValueError, match="reqs holds no real request that counts in stream 0"):
            js.metrics.service_summary(nobody, served)


CLASSES = {"shares": [3.0, 1.0], "ttft_slo_s": [0.5, np.inf], "priority": [0, 1]}


class TestClasses:
    def test_each_request_draws_one(self):
        reqs = with_classes(REQS, KEY, **CLASSES, tpot_slo_s=[0.05, 1.0])
        is_second = np.asarray(reqs.priority) == 1
        assert np.mean(is_second) == pytest.approx(0.25, abs=0.06)
        np.testing.assert_array_equal(np.asarray(reqs.ttft_slo_s), np.where(is_second, np.inf, 0.5))
        assert np.asarray(reqs.tpot_slo_s)[is_second].min() == 1.0

    def test_metrics_take_the_targets(self, served):
        reqs = with_classes(
            REQS, KEY, shares=[1.0, 1.0], ttft_slo_s=[1e-9, np.inf], priority=[1, 2]
        )
        found = js.metrics.service_summary(reqs, served)
        np.testing.assert_allclose(found["attainment"], np.mean(reqs.priority == 2, axis=-1))

    def test_clients_stay_in_their_class(self):
        reqs = clients(KEY, INST, 5.0, num_clients=20, top_10_share=0.8, cv=2.0)
        reqs = with_classes(reqs, KEY, **CLASSES, by="client")
        for stream in reqs:
            found = {
                tuple(pair) for pair in np.stack([stream.client, stream.priority], -1).tolist()
            }
            assert len(found) == np.unique(stream.client).size
        assert np.unique(reqs.priority).tolist() == [0, 1]

    def test_traced_numbers(self):
        draw = jax.jit(lambda share: with_classes(REQS, KEY, shares=share, priority=[0, 1]))
        share = np.array([3.0, 1.0], np.float32)
        plain = with_classes(REQS, KEY, shares=share, priority=[0, 1])
        np.testing.assert_array_equal(draw(share).priority, plain.priority)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"by": "client"}, "by is 'client'; expected requests with clients"),
            ({"shares": [1.0]}, r"ttft_slo_s has shape \(2,\) but shares has \(1,\)"),
            ({"shares": [0.0, 0.0]}, "shares is .*; expected a share above 0"),
            ({"shares": [1.0, -1.0]}, r"shares\[1\] is -1.0; expected numbers >= 0"),
            ({"ttft_slo_s": [0.0, 1.0]}, r"ttft_slo_s\[0\] is 0.0; expected seconds > 0"),
            ({"priority": ["a", "b"]}, "priority is .*; expected numbers, one a class"),
        ],
    )
    def test_wrong_classes_are_named(self, change, message):
        with pytest.raises(ValueError, match=message):
            with_classes(REQS, KEY, **{**CLASSES, **change})

    def test_nothing_to_set_is_named(self):
        with pytest.raises(ValueError, match="give targets or priorities of the classes"):
            with_classes(REQS, KEY, shares=[1.0, 1.0])


class TestRate:
    def test_times_are_scaled_and_nothing_else(self):
        fast = at_rate(REQS, np.array([10.0, 80.0]))
        times, before = np.asarray(fast.arrival_s), np.asarray(REQS.arrival_s)
        np.testing.assert_allclose(299 / times[:, -1], [10.0, 80.0])
        np.testing.assert_allclose(times / times[:, -1:], before / before[:, -1:], atol=1e-12)
        np.testing.assert_array_equal(fast.output_tokens, REQS.output_tokens)

    def test_padding_and_errors(self):
        short = js.Requests.from_arrays([1.0, 3.0], [5, 5], [1, 1])
        long = js.Requests.from_arrays([1.0, 2.0, 3.0], [5] * 3, [1] * 3)
        times = np.asarray(at_rate(js.stack([short, long]), 2.0).arrival_s)
        assert times.tolist() == [[0.0, 0.5, np.inf], [0.0, 0.5, 1.0]]
        with pytest.raises(ValueError, match="reqs spans no time, so it has no rate"):
            at_rate(js.Requests.from_arrays([1.0, 1.0], [5, 5], [1, 1]), 2.0)


class TestDescription:
    def test_by_hand(self):
        # 3 arrivals in the first second, 1 in the next, 2 in the third; the last window is open.
        arrival_s = [10.0, 10.2, 10.4, 11.5, 12.0, 12.5, 13.5]
        reqs = js.Requests.from_arrays(
            arrival_s, [1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1], client=[0, 1, 0, 1, 0, 1, 0]
        )
        found = describe(reqs, [1.0, 100.0])
        gaps = np.diff(arrival_s)
        assert found["rate_requests_per_s"] == pytest.approx(6 / 3.5)
        assert found["cv_of_gaps"] == pytest.approx(gaps.std() / gaps.mean())
        assert found["burstiness"] == pytest.approx((gaps.mean() / gaps.std()) ** 2)
        assert found["peak_to_mean_1s"] == pytest.approx(3 / 2)
        assert found["dispersion_1s"] == pytest.approx(1 / 2)
        assert np.isnan(found["dispersion_100s"])
        assert found["length_correlation"] == pytest.approx(-1)
        assert (found["num_clients"], found["top_10_share"]) == (2, 1)

    def test_streams_are_averaged_and_too_few_named(self):
        each = [describe(row) for row in REQS]
        assert describe(REQS)["cv_of_gaps"] == pytest.approx(
            np.mean([one["cv_of_gaps"] for one in each])
        )
        with pytest.raises(ValueError, match="reqs has fewer than three arrivals"):
            describe(js.Requests.from_arrays([0.0, 1.0], [1, 1], [1, 1]))
        with pytest.raises(ValueError, match=r"windows_s\[0\] is 0.0; expected seconds > 0"):
            describe(REQS, [0.0])
