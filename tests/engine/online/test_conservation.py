"""Tokens, steps and seconds add up on streams of realistic lengths, near capacity and above it."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxsched as js

pytestmark = pytest.mark.jax_defaults

N = 300
LOADS = {"near capacity": 0.95, "above capacity": 1.5}
KINDS = {
    "recompute": {},
    "swap": {"preemption": "swap", "swap_s_per_token": 2e-6},
    "restart": {"preemption": "restart"},
    "never": {"preemption": "never", "admission": "peak"},  # needs true predictions
}


def tight_server(lengths, **options):
    """A server whose cache holds the two largest requests."""
    largest = int((lengths.prompt_tokens + lengths.output_tokens).max())
    server = js.servers.get("llama3.1_8b_h100")
    return server.replace(kv_capacity=2 * 16 * -(-largest // 16), **options)


def poisson(lengths, rate, errs):
    """Requests of the lengths, ``rate`` a second from second 0 on; predictions err by a half."""
    rng = np.random.default_rng(0)
    factor = rng.uniform(0.5, 1.5, N) if errs else np.ones(N)
    return js.Requests.from_arrays(
        rng.exponential(1 / rate, N).cumsum(),
        lengths.prompt_tokens,
        lengths.output_tokens,
        predicted_output_tokens=lengths.output_tokens * factor,
        priority=rng.integers(0, 3, N),
    )


def streams(lengths, server, rule):
    """A stream for each load, by what the server completes of a backlog in a second."""
    errs = server.preemption != "never"
    backlog = js.serve(poisson(lengths, 1e9, errs), server, rule)
    capacity = N / backlog.completion_s.max()
    return {name: poisson(lengths, load * capacity, errs) for name, load in LOADS.items()}


def replay(log, prompt, preemption):
    """Add up a log in plain Python: work of each step, and what evictions cost."""
    computed, generated, filling = [0] * N, [0] * N, [True] * N
    running = set()
    tables = {"pre": {}, "adm": {}, "fin": {}}
    for table, by_step in tables.items():
        for step, request in zip(log[f"{table}_step"], log[f"{table}_req"], strict=True):
            by_step.setdefault(int(step), []).append(int(request))
    columns = (log[f"ent_{name}"].tolist() for name in ("req", "tok", "sampled"))
    grants = zip(*columns, strict=True)
    work = np.zeros((len(log["step_end"]), 6), np.int64)  # P, B, KV, Q, swapped, cached at the end
    thrown = lost = evicted_decoding = 0
    for step, entries in enumerate(log["step_entries"].tolist()):
        P = B = KV = Q = swapped = 0
        for r in tables["pre"].get(step, []):
            running.remove(r)
            if preemption == "swap":
                swapped += computed[r]
                continue
            evicted_decoding += not filling[r]
            thrown += computed[r]
            computed[r], filling[r] = 0, True
            if preemption == "restart":
                lost += generated[r]
                generated[r] = 0
        for r in tables["adm"].get(step, []):
            running.add(r)
            swapped += computed[r]
        for _ in range(entries):
            r, tokens, is_sampled = next(grants)
            assert r in running
            if filling[r]:
                P += tokens
                Q += (computed[r] + tokens) ** 2 - computed[r] ** 2
            else:
                assert tokens == 1
                B += 1
                KV += computed[r]
            computed[r] += tokens
            assert is_sampled == (computed[r] == prompt[r] + generated[r])
            if is_sampled:
                generated[r] += 1
                filling[r] = False
        work[step] = P, B, KV, Q, swapped, sum(computed[r] for r in running)
        running.difference_update(tables["fin"].get(step, []))
    assert not running
    assert next(grants, None) is None
    return SimpleNamespace(
        **dict(zip(("P", "B", "KV", "Q", "swapped", "cached"), work.T, strict=True)),
        generated=generated,
        thrown=thrown,
        lost=lost,
        evicted_decoding=evicted_decoding,
    )


def assert_conserved(reqs, server, rule):
    """Serve, add up the log, and return the outcome."""
    out, log = js.serve(reqs, server, rule, record=True)
    assert (out.status == js.Status.OK).all()
    assert js.verify_service(reqs, server, out, log) == (True, "", -1, -1)
    prompt, output = (
        np.asarray(each, np.int64) for each in (reqs.prompt_tokens, reqs.output_tokens)
    )
    total = replay(log, prompt.tolist(), server.preemption)

    # Every request: its tokens, its preemptions and its admissions.
    np.testing.assert_array_equal(total.generated, output)
    np.testing.assert_array_equal(out.num_preemptions, np.bincount(log["pre_req"], minlength=N))
    np.testing.assert_array_equal(np.sort(log["fin_req"]), np.arange(N))
    assert len(log["adm_req"]) == N + out.num_preemptions.sum()
    assert log["adm_resumed"].sum() == out.num_preemptions.sum()
    assert log["step_arrived"].sum() == N

    # Tokens. The first of a request comes of its prompt, all others of a decode. One that is
    # evicted while it decodes returns with its last token not yet computed: it comes of the
    # recomputed prompt. A restart loses it, and the decodes before it with it.
    assert log["ent_sampled"].sum() == output.sum() + total.lost
    first_of_a_fill = N + total.evicted_decoding
    assert log["step_B"].sum() == output.sum() + total.lost - first_of_a_fill
    recomputed_prompts = out.recomputed_tokens + total.evicted_decoding - total.lost
    assert log["step_P"].sum() == prompt.sum() + recomputed_prompts
    assert log["ent_tok"].sum() == (prompt + output - 1).sum() + out.recomputed_tokens
    assert out.recomputed_tokens == total.thrown

    # Steps: the columns are those of the grants, and the clock's formula gives their seconds.
    for name in ("P", "B", "KV"):
        np.testing.assert_array_equal(log[f"step_{name}"], getattr(total, name), err_msg=name)
    a, b, c, d, e = (1e-3 * float(each) for each in jax.tree.leaves(server.clock))
    seconds = (
        a
        + b * log["step_P"]
        + c * log["step_B"]
        + d * log["step_KV"]
        + e * total.Q
        + server.swap_s_per_token * total.swapped
    )
    taken = log["step_end"] - log["step_clock"]
    np.testing.assert_allclose(taken, seconds, rtol=1e-9)
    assert (log["step_clock"][1:] >= log["step_end"][:-1]).all()

    # The run.
    assert out.num_steps == len(seconds)
    np.testing.assert_allclose(out.busy_s, seconds.sum(), rtol=1e-9)
    np.testing.assert_allclose(out.busy_s, taken.sum(), rtol=1e-9)
    np.testing.assert_allclose(out.kv_token_time, total.cached @ seconds, rtol=1e-9)
    assert out.peak_kv_tokens == total.cached.max() <= server.kv_capacity
    assert log["step_free_end"][-1] * server.block_size == server.kv_capacity

    measured = js.metrics.service_summary(reqs, out)
    served = measured["throughput_tokens_per_s"] * measured["duration_s"]
    np.testing.assert_allclose(served, output.sum(), rtol=1e-9)
    return out


def assert_all_loads_conserve(lengths, kind, rule):
    server = tight_server(lengths, **KINDS[kind])
    for name, reqs in streams(lengths, server, rule).items():
        out = assert_conserved(reqs, server, rule)
        assert (out.num_preemptions.sum() > 0) == (kind != "never"), name
        assert (out.recomputed_tokens > 0) == (kind in ("recompute", "restart")), name


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["fcfs", "priority", "shortest_output"])
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_lengths(kind, rule):
    lengths = js.workloads.mixed(jax.random.key(0), num_requests=N)
    assert_all_loads_conserve(lengths, kind, rule)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["azure2023_conv.csv.gz", "azure2023_code.csv.gz", "mooncake_conversation.csv.gz"]
)
def test_recorded_lengths(data_dir, name, kind):
    if not (data_dir / name).is_file():
        pytest.skip(f"{data_dir} has no {name}")
    lengths = js.traces.load_requests(data_dir / name, num_requests=N, key=jax.random.key(0))
    assert_all_loads_conserve(lengths, kind, "fcfs")
