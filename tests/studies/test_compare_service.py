"""Rules side by side at a server."""

import json

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.metrics.statistics import estimate_means

CLOCK = js.clock.LinearClock(20.0, 0.2, 0.3, 0.01, 0.0)
SERVER = js.Server(kv_capacity=1024, clock=CLOCK, max_num_seqs=8, max_num_batched_tokens=256)
TARGETS = {"ttft_slo_s": 0.25, "tpot_slo_s": 0.08}


@pytest.fixture(scope="module")
def reqs():
    generator = np.random.default_rng(0)
    shape = 24, 24
    return js.Requests.from_arrays(
        generator.exponential(0.05, shape).cumsum(axis=-1),
        generator.integers(10, 300, shape),
        generator.integers(1, 40, shape),
    )


@pytest.fixture(scope="module")
def found(reqs):
    return js.compare(reqs, ["fcfs", "smallest_volume"], "fcfs", server=SERVER, **TARGETS)


def test_metrics_are_those_of_each_rule_alone(reqs, found):
    for rule in found.rules:
        out = js.serve(reqs, SERVER, rule)
        expected = js.metrics.service_summary(reqs, out, server=SERVER, **TARGETS)
        for name, values in expected.items():
            np.testing.assert_array_equal(found.metrics[rule][name], values, err_msg=name)


def test_differences_and_changes_are_paired_by_stream(found):
    ours, base = (found.metrics[rule]["p99_ttft_s"] for rule in ("smallest_volume", "fcfs"))
    difference = found.difference("p99_ttft_s")["smallest_volume"]
    np.testing.assert_allclose(difference, estimate_means(ours - base), rtol=1e-12)
    change = found.change("p99_ttft_s")["smallest_volume"]
    np.testing.assert_allclose(change, estimate_means(ours / base - 1), rtol=1e-12)
    record = next(
        each
        for each in found.records()
        if (each["rule"], each["metric"]) == ("smallest_volume", "p99_ttft_s")
    )
    assert record["change_low"] == change.low


def test_the_tables_show_service_and_its_change(found):
    text = str(found)
    for word in ("TTFT", "TPOT", "E2E", "p99", "goodput", "attain-", "evic-", "vs fcfs"):
        assert word in text
    assert "24 streams of 24 requests, 1024 KV tokens" in text
    assert "± 95% t intervals" in text
    assert found._repr_html_().count("<table>") == 4
    assert repr(found).startswith("ServiceComparison(fcfs, smallest_volume; 24 streams")
    saved = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert saved["rules"]["fcfs"]["mean_ttft_s"]["change"] == 0


def test_rules_may_be_functions_and_intervals_bootstrap(reqs):
    def own(inst):
        return inst.prompt_tokens

    rules = {"mine": own, "theirs": "shortest_prompt"}
    found = js.compare(reqs, rules, "mine", server=SERVER, key=jax.random.key(0), **TARGETS)
    assert found.difference("mean_e2e_s")["theirs"].mean == 0
    assert "bootstrap" in str(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"server": None}, "server is missing; give what serves the requests"),
        ({"admission": "peak"}, "server says clock, discipline, admission"),
        ({"baseline": "svf"}, "'svf' is not among the rules"),
        ({"server": SERVER.replace(kv_capacity=np.ones(24, int))}, "expected one server"),
    ],
)
def test_errors_of_requests(reqs, changes, message):
    with pytest.raises(ValueError, match=message):
        js.compare(reqs, **({"rules": ["fcfs"], "server": SERVER} | changes))


def test_a_backlog_takes_no_targets():
    inst = js.Instance.from_lengths([3, 1], [2, 4], kv_capacity=8)
    with pytest.raises(ValueError, match="ttft_slo_s goes with no Instance; leave it out, or give"):
        js.compare(inst, ["fcfs"], ttft_slo_s=1.0)
