"""Hindsight bounds on a server: never above what the engine reaches, under any rule or setting."""

import itertools

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.clock import LinearClock

N, BATCH = 6, 32  # one shape, so that the engine compiles once a choice
RULES = ("smallest_volume", "shortest_output")
STEADY = {"block_size": 1, "max_num_batched_tokens": 64, "max_num_seqs": N}


def streams(seed, batch=BATCH, fraction=True, room=21):
    """Short streams for a cache of 20 tokens; the engine never stores the last token of 21."""
    rng = np.random.default_rng(seed)
    output = rng.integers(1, 8, (batch, N))
    prompt = np.minimum(rng.integers(1, 12, (batch, N)), room - output)
    arrival = rng.uniform(0, rng.uniform(1, 14, (batch, 1)), (batch, N))
    arrival = np.sort(arrival if fraction else np.floor(arrival), axis=1)
    return js.Requests.from_arrays(arrival, prompt, output)


def reached(reqs, server, rules=RULES):
    """Least total latency in seconds that any of the rules reaches, ``[..]``."""
    totals = []
    for rule in rules:
        out = js.serve(reqs, server, rule)
        assert (np.asarray(out.status) == js.Status.OK).all()
        totals.append((out.completion_s - np.asarray(reqs.arrival_s)).sum(axis=-1))
    return np.min(totals, axis=0)


def assert_below(reqs, server, bounds, at_least, rules=RULES):
    best = reached(reqs, server, rules)
    for bound in bounds:
        options = {"num_blocks": 32, "num_steps": 100} if bound == "price" else {}
        ratio = js.bounds.hindsight(reqs, server, bound, **options) / best
        assert ratio.max() <= 1
        assert ratio.mean() > at_least


@pytest.mark.parametrize(
    "choices",
    [
        {"admission": "look_ahead"},
        pytest.param({"admission": "peak"}, marks=pytest.mark.slow),
        pytest.param({"preemption": "restart"}, marks=pytest.mark.slow),
        pytest.param(
            {"admission": "look_ahead", "prefill_schedule_interval": 3}, marks=pytest.mark.slow
        ),
        pytest.param({"admission": "peak", "max_num_batched_tokens": 6}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("batch", [BATCH, pytest.param(2048, marks=pytest.mark.slow)])
def test_every_bound_holds_where_nobody_is_interrupted(choices, batch):
    reqs = streams(seed=0, batch=batch)
    server = js.Server(kv_capacity=20, **STEADY | choices)
    rules = RULES if batch == BATCH else ("fcfs", *RULES)
    assert_below(reqs, server, ["price", "mean_busy", "volume"], at_least=0.3, rules=rules)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        pytest.param({"admission": "chunk", "preemption": "swap"}, marks=pytest.mark.slow),
        pytest.param({"preemption": "restart"}, marks=pytest.mark.slow),
        pytest.param({"admission": "chunk", "preemption": "never"}, marks=pytest.mark.slow),
        pytest.param({"prefill_first": True}, marks=pytest.mark.slow),
        pytest.param({"long_prefill_token_threshold": 2}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("batch", [BATCH, pytest.param(2048, marks=pytest.mark.slow)])
def test_closed_forms_hold_on_every_server(choices, batch):
    reqs = streams(seed=1, batch=batch)
    if choices.get("preemption") == "never":
        reqs = reqs.replace(output_tokens=np.minimum(reqs.output_tokens, 2))
    clock = LinearClock(250.0, 20.0, 10.0, 1.0, 0.5)
    server = js.Server(kv_capacity=20, block_size=2, max_num_batched_tokens=7, clock=clock)
    for one in (server.replace(**choices), server.replace(clock=None, **choices)):
        if choices.get("preemption") == "never":
            out = js.serve(reqs, one)  # it can stall
            reqs = reqs[(np.asarray(out.status) == js.Status.OK).all(axis=-1)]
            assert_below(reqs, one, ["mean_busy", "volume"], at_least=0.2, rules=["fcfs"])
        else:
            rules = RULES if batch == BATCH else ("fcfs", *RULES)
            assert_below(reqs, one, ["mean_busy", "volume"], at_least=0.2, rules=rules)


@pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_on_whole_arrivals_it_is_the_bound_of_the_rounds_model(count):
    pytest.importorskip("highspy", reason="needs HiGHS: pip install -e '.[exact]'")
    reqs = streams(seed=2, batch=count, fraction=False, room=20)
    server = js.Server(kv_capacity=20, **STEADY, admission="look_ahead")
    inst = reqs.as_backlog(np.full(count, 20))
    release = np.asarray(reqs.arrival_s).astype(int)
    optimum = js.bounds.hindsight(reqs, server, "exact")
    for one, rounds, found in zip(inst, release, optimum, strict=True):
        assert js.bounds.exact(one, release_rounds=rounds).lower == found
    for bound, of_model in (("mean_busy", js.bounds.mean_busy), ("volume", js.bounds.volume)):
        found = js.bounds.hindsight(reqs, server, bound)
        np.testing.assert_array_equal(found, of_model(inst, release_rounds=release))


@pytest.mark.slow
def test_some_order_of_four_requests_reaches_the_optimum():
    pytest.importorskip("highspy", reason="needs HiGHS: pip install -e '.[exact]'")
    reqs = streams(seed=3, batch=6, fraction=False, room=20)
    reqs = jax.tree.map(lambda leaf: leaf[:, :4], reqs)
    server = js.Server(kv_capacity=20, **STEADY, admission="look_ahead")
    orders = np.array(list(itertools.permutations(range(4))))
    each = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[:, None], len(orders), 1), reqs)
    each = each.replace(priority=np.broadcast_to(orders, each.prompt_tokens.shape))
    best = reached(each, server, ["priority"]).min(axis=1)
    optimum = js.bounds.hindsight(reqs, server, "exact")
    assert (optimum <= best).all()
    assert np.mean(optimum == best) >= 0.5


def test_servers_broadcast_and_padding_takes_no_part():
    reqs = streams(seed=4)
    server = js.Server(kv_capacity=np.array([[20], [40]]), **STEADY, admission="look_ahead")
    found = js.bounds.hindsight(reqs, server, "mean_busy")
    assert found.shape == (2, BATCH)
    assert (found[0] >= found[1]).all()
    one = js.Requests.from_arrays([2.5], [3], [4])
    padded = js.stack([reqs[0], one])
    both = js.bounds.hindsight(padded, server.replace(kv_capacity=20), "mean_busy")
    assert both[0] == pytest.approx(found[0, 0], rel=1e-9)
    alone = js.bounds.hindsight(one, server.replace(kv_capacity=20), "mean_busy")
    assert both[1] == pytest.approx(float(alone), rel=1e-9)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"admission": "prompt"}, "admission is 'prompt', where the bound 'price' does not hold; "),
        ({"clock": LinearClock(5.0, 0.1, 0.0, 0.0, 0.0)}, "expected None, or steps that are all"),
        ({"max_num_batched_tokens": 5}, "max_num_batched_tokens is 5, .* at least max_num_seqs"),
        ({"max_num_batched_tokens": 19}, "max_num_batched_tokens is 19, .* at least kv_capacity"),
        ({"long_prefill_token_threshold": 4}, "long_prefill_token_threshold is 4, .*expected 0"),
        ({"prefill_first": True}, 'expected False, or the bound "mean_busy"'),
        ({"clock": LinearClock(0.0, 0.0, 0.0, 0.0, 0.0)}, "a clock whose every step takes time"),
        ({"kv_capacity": 10}, r"prompt_tokens \+ output_tokens\[.*raise its kv_capacity"),
        ({"max_model_len": 9}, r"prompt_tokens \+ output_tokens\[.*raise its max_model_len"),
    ],
)
def test_servers_where_it_does_not_hold_are_refused(choices, message):
    server = js.Server(kv_capacity=20, **STEADY, admission="look_ahead").replace(**choices)
    with pytest.raises(ValueError, match=message):
        js.bounds.hindsight(streams(seed=5), server)


def test_predictions_that_are_outlived_are_refused():
    reqs = js.Requests.from_arrays([0, 1], [3, 2], [5, 4], predicted_output_tokens=[5.0, 2.5])
    server = js.Server(kv_capacity=20, **STEADY, admission="look_ahead")
    with pytest.raises(ValueError, match=r"predicted_output_tokens\[1\] is 2.5; .*the output, 4"):
        js.bounds.hindsight(reqs, server)
    believed = js.bounds.hindsight(reqs, server, "mean_busy")
    assert 0 < believed < js.bounds.hindsight(reqs.replace(predicted_output_tokens=None), server)


@pytest.mark.slow
def test_closed_forms_hold_under_predictions_that_are_outlived():
    reqs = js.workloads.predict(streams(seed=6, batch=2048), jax.random.key(0), sigma=1.0)
    for choices in ({"admission": "look_ahead"}, {"admission": "peak", "preemption": "restart"}):
        server = js.Server(kv_capacity=20, **STEADY | choices)
        assert_below(reqs, server, ["mean_busy", "volume"], at_least=0.3)


@pytest.mark.parametrize("bound", ["price", "mean_busy", "volume"])
def test_dates_in_place_of_seconds_change_nothing(bound):
    """The clock of the wall holds quarters of a second to the last bit."""
    arrival = np.array([0.0, 0.25, 3.0, 3.0, 7.5, 40.25])
    server = js.Server(kv_capacity=24, block_size=1, admission="look_ahead")
    values = [
        js.bounds.hindsight(
            js.Requests.from_arrays(first_s + arrival, [3, 9, 2, 8, 4, 1], [5, 2, 9, 3, 6, 8]),
            server,
            bound,
        )
        for first_s in (0.0, 1.7e9)
    ]
    assert values[0] == values[1] > 0
