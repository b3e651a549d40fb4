"""Limits of stability: their formulas, and that no rule keeps up with more."""

import jax
import numpy as np
import pytest

import jaxsched as js
from jaxsched.clock import LinearClock

CLOCK = LinearClock(5.9, 0.0168, 0.0134, 4.1e-5, 7.5e-7)
RULES = ("fcfs", "shortest_prompt", "smallest_volume")
N, BATCH = 60, 8


def by_hand(prompt, output, capacity, seats, budget, clock, is_recomputed):
    """The three limits of one stream, every token by itself."""
    a, b, c, d, e = clock
    n = len(prompt)
    work = held = 0.0
    for s, o in zip(prompt, output, strict=True):
        held += sum(s + u - 1 for u in range(1, o + 1))
        work += b * s + e * s * s
        work += sum(
            min(c + d * (s + u - 2), b * (s + u - 1)) if is_recomputed else c + d * (s + u - 2)
            for u in range(2, o + 1)
        )
    steps = max(sum(output) / seats, (sum(prompt) + sum(output) - n) / budget)
    in_memory = a * held / capacity
    return [n / t for t in (in_memory, work + a * steps, max(work + a * steps, work + in_memory))]


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
def test_limits_are_sums_over_tokens(preemption):
    rng = np.random.default_rng(0)
    prompt, output = rng.integers(1, 60, (4, 9)), rng.integers(1, 60, (4, 9))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=np.full(4, 200))
    for coefficients in [(6.0, 0.02, 0.01, 1e-4, 1e-6), (2.0, 0.5, 0.1, 0.01, 0.0)]:
        server = js.Server(
            kv_capacity=207,  # 192 in whole blocks
            clock=LinearClock(*coefficients),
            max_num_seqs=3,
            max_num_batched_tokens=64,
            preemption=preemption,
        )
        found = np.stack(js.bounds.stability(inst, server))
        seconds = [each * 1e-3 for each in coefficients]
        for row in range(4):
            lengths = prompt[row].tolist(), output[row].tolist()
            expected = by_hand(*lengths, 192, 3, 64, seconds, preemption == "recompute")
            np.testing.assert_allclose(found[:, row], expected, rtol=1e-12)


def test_recomputed_tokens_count_where_they_are_cheaper_and_never_too_much():
    """Prompts that cost nothing: an eviction could make every token cheap."""
    rng = np.random.default_rng(1)
    prompt, output = rng.integers(1, 60, 9).tolist(), rng.integers(1, 60, 9).tolist()
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=200)
    seconds = (1e-6, 0.001, 0.02, 0.0, 0.0)
    server = js.Server(kv_capacity=192, clock=LinearClock(*(1e3 * each for each in seconds)))
    limit = js.bounds.stability(inst, server).work
    expected = by_hand(prompt, output, 192, 128, 2048, seconds, is_recomputed=True)[1]
    assert expected <= limit * (1 + 1e-12)
    assert limit < 1.2 * expected


def streams(seed, rate, batch=BATCH, n=N):
    rng = np.random.default_rng(seed)
    prompt, output = rng.integers(1, 120, (batch, n)), rng.integers(1, 90, (batch, n))
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=np.full(batch, 240))
    return js.workloads.poisson(jax.random.key(seed), inst, rate)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        pytest.param({"max_num_batched_tokens": 40, "max_num_seqs": 4}, marks=pytest.mark.slow),
        pytest.param({"admission": "chunk", "preemption": "swap"}, marks=pytest.mark.slow),
        pytest.param({"admission": "look_ahead", "block_size": 1}, marks=pytest.mark.slow),
        pytest.param({"preemption": "restart", "prefill_first": True}, marks=pytest.mark.slow),
        pytest.param({"clock": LinearClock(0.1, 0.01, 3.0, 0.1, 0.0)}, marks=pytest.mark.slow),
        pytest.param({"clock": None}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("rate", [5.0, 1e4])
def test_no_stream_is_served_faster(choices, rate):
    """From the first arrival to the last completion, n requests take n over the limit."""
    server = js.Server(kv_capacity=240, clock=CLOCK).replace(**choices)
    reqs = streams(2, rate)
    least_s = N / js.bounds.stability(reqs, server).rate
    for rule in RULES if choices else RULES[1:]:
        out = js.serve(reqs, server, rule)
        assert (np.asarray(out.status) == js.Status.OK).all()
        took_s = out.completion_s.max(axis=-1) - np.asarray(reqs.arrival_s).min(axis=-1)
        assert (took_s >= least_s * (1 - 1e-9)).all()


@pytest.mark.parametrize(
    "rule", ["smallest_volume", *(pytest.param(r, marks=pytest.mark.slow) for r in RULES[:2])]
)
def test_above_the_limit_latency_grows_with_the_number_of_requests(rule):
    """Twice the requests wait about twice as long at 1.1 of the limit, under any rule."""
    server = js.Server(kv_capacity=240, clock=CLOCK)
    whole = streams(3, 1.0, batch=1, n=800)[0]
    prefixes = [jax.tree.map(lambda leaf, n=n: leaf[:n], whole) for n in (200, 400, 800)]
    reqs = js.stack(prefixes)
    limit = js.bounds.stability(reqs, server).rate
    arrival_s = np.asarray(reqs.arrival_s) / (1.1 * limit[:, None])
    out = js.serve(reqs.replace(arrival_s=arrival_s), server, rule)
    mean_s = np.nanmean(out.completion_s - arrival_s, axis=-1)
    assert (mean_s[1:] > 1.4 * mean_s[:-1]).all()


def test_servers_broadcast_and_padding_takes_no_part():
    reqs = streams(4, 1.0)
    server = js.Server(kv_capacity=np.array([[240], [480]]), clock=CLOCK)
    found = js.bounds.stability(reqs, server)
    assert found.memory.shape == found.work.shape == found.rate.shape == (2, BATCH)
    np.testing.assert_allclose(found.memory[1], 2 * found.memory[0])
    np.testing.assert_array_equal(found.work[1], found.work[0])
    assert (found.rate <= np.minimum(found.memory, found.work) * (1 + 1e-12)).all()
    padded = js.stack([reqs[0], js.Requests.from_arrays([0.0], [3], [4])])
    small = server.replace(kv_capacity=240)
    alone = js.bounds.stability(padded, small)
    assert alone.rate[0] == pytest.approx(found.rate[0, 0])
    assert alone.rate[1] == pytest.approx(
        float(js.bounds.stability(js.Requests.from_arrays([0.0], [3], [4]), small).rate)
    )


def test_without_time_there_is_no_limit_and_wrong_requests_are_named():
    reqs = js.Requests.from_arrays([0.0, 0.0], [3, 300], [4, 1])
    timeless = js.Server(kv_capacity=320, clock=LinearClock(0.0, 0.0, 0.0, 0.0, 0.0))
    assert np.isinf(js.bounds.stability(reqs, timeless)).all()
    with pytest.raises(ValueError, match=r"output_tokens\[1\] is 301; .*raise its kv_capacity"):
        js.bounds.stability(reqs, js.Server(kv_capacity=240))
    with pytest.raises(ValueError, match=r"output_tokens\[1\] is 301; .*max_num_batched_tokens"):
        js.bounds.stability(
            reqs, timeless.replace(max_num_batched_tokens=64, enable_chunked_prefill=False)
        )
