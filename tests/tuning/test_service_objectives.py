"""Objectives of served requests, against plain numpy on random outcomes."""

import jax
import numpy as np
import pytest

import jaxsched as js

objectives = js.tuning.objectives
B, N = 3, 12
SERVER = js.Server(
    kv_capacity=4000,
    max_num_batched_tokens=64,
    clock=js.clock.LinearClock(8.0, 0.05, 0.1, 0.001, 1e-5),
)
TARGETS = {"ttft_slo_s": 2.0, "tpot_slo_s": 0.4, "e2e_slo_s": 6.0}


def random_case(seed=0):
    """Requests and an outcome with padding, refusals and single tokens in it."""
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0, 5, (B, N)), axis=-1)
    reqs = js.Requests.from_arrays(
        arrival,
        rng.integers(1, 200, (B, N)),
        rng.integers(1, 9, (B, N)),
        client=rng.integers(0, 3, (B, N)),
        ttft_slo_s=rng.uniform(1, 3, (B, N)),
    )
    real = np.arange(N) < np.array([[N], [N - 3], [N - 1]])
    reqs = jax.tree.map(np.asarray, reqs.replace(is_real=real))
    first = arrival + rng.exponential(1.5, (B, N))
    last = first + rng.exponential(1.5, (B, N)) * (reqs.output_tokens > 1)
    is_refused = rng.uniform(size=(B, N)) < 0.15
    out = js.Outcome(
        arrival=arrival,
        first_scheduled=np.where(is_refused, np.nan, arrival),
        first_token=np.where(is_refused, np.nan, first),
        completion=np.where(is_refused, np.nan, last),
        num_preemptions=np.zeros((B, N), np.int32),
        status=np.where(is_refused, int(js.Status.REFUSED), int(js.Status.OK)),
        is_real=real,
    )
    return reqs, out


REQS, OUT = random_case()
SUMMARY = js.metrics.service_summary(REQS, OUT, server=SERVER, **TARGETS)
PLAIN = {
    "mean_ttft": ("mean_ttft_s", 1, ()),
    "p99_ttft": ("p99_ttft_s", 1, ()),
    "mean_tpot": ("mean_tpot_s", 1, ()),
    "p99_tpot": ("p99_tpot_s", 1, ()),
    "mean_e2e": ("mean_e2e_s", 1, ()),
    "p99_e2e": ("p99_e2e_s", 1, ()),
    "mean_slowdown": ("mean_slowdown", 1, (SERVER,)),
    "p99_slowdown": ("p99_slowdown", 1, (SERVER,)),
    "attainment": ("attainment", -1, tuple(TARGETS.values())),
    "goodput": ("goodput_requests_per_s", -1, tuple(TARGETS.values())),
}


@pytest.mark.parametrize("name", PLAIN)
def test_each_is_the_metric_of_that_name(name):
    metric, sign, arguments = PLAIN[name]
    objective = getattr(objectives, name)(*arguments)
    found = objective(REQS, OUT)
    np.testing.assert_allclose(sign * found, SUMMARY[metric], rtol=1e-12)
    np.testing.assert_allclose(objectives.natural(objective, found), SUMMARY[metric], rtol=1e-12)
    assert objective.name == name


def of_each():
    """Plain loops: seconds of the requests that count, by stream, and their places."""
    for b in range(B):
        yield (
            b,
            [i for i in range(N) if OUT.is_real[b, i] and OUT.status[b, i] == js.Status.OK],
        )


@pytest.mark.parametrize("kind", ["a request", "a client"])
def test_weights(kind):
    each = np.random.default_rng(1).uniform(0, 2, (B, N))
    weights = each if kind == "a request" else {0: 3.0, 2: 0.0}
    if kind == "a client":
        each = np.choose(REQS.client, [3.0, 1.0, 0.0])
    mean, share, rate = [], [], []
    for b, served in of_each():
        ttft = {i: OUT.first_token[b, i] - OUT.arrival[b, i] for i in served}
        mean.append(sum(each[b, i] * ttft[i] for i in served) / sum(each[b, i] for i in served))
        good = sum(each[b, i] for i in served if ttft[i] <= REQS.ttft_slo_s[b, i])
        real = [i for i in range(N) if OUT.is_real[b, i]]
        share.append(good / sum(each[b, i] for i in real))
        seconds = max(OUT.completion[b, i] for i in served) - min(OUT.arrival[b, i] for i in real)
        rate.append(good / seconds)
    np.testing.assert_allclose(objectives.mean_ttft(weights=weights)(REQS, OUT), mean)
    np.testing.assert_allclose(objectives.attainment(weights=weights)(REQS, OUT), -np.array(share))
    np.testing.assert_allclose(objectives.goodput(weights=weights)(REQS, OUT), -np.array(rate))


def test_a_weight_of_two_is_close_to_the_same_request_twice_in_a_percentile():
    """And a weight of nothing is no request."""
    weights = np.where(REQS.client == 1, 0.0, 1.0)
    found = objectives.p99_e2e(weights=weights)(REQS, OUT)
    for b, served in of_each():
        values = [
            OUT.completion[b, i] - OUT.arrival[b, i] for i in served if REQS.client[b, i] != 1
        ]
        np.testing.assert_allclose(found[b], np.percentile(values, 99))
    heavy = objectives.p99_e2e(weights=np.full((B, N), 7.0))(REQS, OUT)
    np.testing.assert_allclose(heavy, SUMMARY["p99_e2e_s"], rtol=1e-12)


def test_a_sum_adds_what_it_weighs():
    parts = objectives.attainment(1.0), objectives.p99_tpot()
    both = objectives.weighted_sum((2.0, parts[0]), (0.5, parts[1]))
    expected = 2 * parts[0](REQS, OUT) + 0.5 * parts[1](REQS, OUT)
    np.testing.assert_allclose(both(REQS, OUT), expected)
    assert both.name == "-2 attainment +0.5 p99_tpot"


def test_requests_left_unfinished_are_worse_than_any():
    status = np.where(np.arange(N) == 2, int(js.Status.STEP_LIMIT), OUT.status)
    out = OUT.replace(status=status)
    assert np.isinf(objectives.mean_e2e()(REQS, out)).all()
    assert (objectives.attainment(9.0)(REQS, out) >= objectives.attainment(9.0)(REQS, OUT)).all()


def test_under_jit_the_same_comes_out():
    both = objectives.weighted_sum(
        (1.0, objectives.goodput(ttft_slo_s=2.0, weights={1: 2.0})),
        (1.0, objectives.p99_slowdown(SERVER)),
    )
    with jax.enable_x64(True):
        found = jax.jit(both)(REQS, OUT)
    np.testing.assert_allclose(found, both(REQS, OUT), rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.goodput(0.0), "ttft_slo_s is 0.0; expected a finite number of seconds"),
        (lambda: objectives.attainment(weights={1: -1.0}), "expected a finite number >= 0 for cl"),
        (lambda: objectives.mean_e2e(weights=[np.nan]), "weights is .* expected finite numbers"),
        (lambda: objectives.weighted_sum(), r"give pairs of a factor and an objective"),
        (lambda: objectives.weighted_sum((0.0, objectives.mean_e2e())), r"terms\[0\] is 0.0"),
        (lambda: objectives.mean_e2e(weights=[1.0, 2.0])(REQS, OUT), r"have shape \(2,\)"),
        (
            lambda: objectives.attainment()(REQS.replace(ttft_slo_s=None), OUT),
            "ttft_slo_s is missing, so there is no target",
        ),
        (
            lambda: objectives.mean_e2e(weights={1: 2.0})(REQS.replace(client=None), OUT),
            "weights are of clients, and the requests name none",
        ),
    ],
)
def test_errors_say_what_to_give(make, message):
    with pytest.raises(ValueError, match=message):
        make()
