"""The online oracle's options beyond vLLM, worked out by hand, and against ``js.simulate``.

Where no clock is given a step takes a second, so that times count steps.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import jaxsched as js
from tests.reference.online import serve
from tests.reference.online_rules import choose_victim
from tests.reference.online_settings import Settings

STEPS = (1.0, 0.0, 0.0, 0.0, 0.0)


def run(requests, usable, arrival_s=None, clock=STEPS, max_steps=200, predicted=None, **settings):
    """The log of (prompt, output) pairs; blocks of one token unless told otherwise."""
    settings = {"block_size": 1, "admission": "chunk", **settings}
    return serve(
        [0.0] * len(requests) if arrival_s is None else arrival_s,
        [prompt for prompt, _ in requests],
        [output for _, output in requests],
        Settings(num_gpu_blocks=usable + 1, **settings),
        clock,
        predicted=predicted,
        max_steps=max_steps,
    )


def entries(log, step):
    """(request, tokens) pairs of a step."""
    first = sum(log.step_entries[:step])
    last = first + log.step_entries[step]
    return list(zip(log.ent_req[first:last], log.ent_tok[first:last], strict=True))


# ---- time ----


def test_a_step_costs_the_clock_s_five_terms():
    # Chunks of 3 and 2: A is 3 (0 + 1.5) and 2 (3 + 1). Then one decode over 5 tokens.
    log = run([(5, 2)], 9, clock=(1.0, 10.0, 100.0, 1000.0, 0.5), max_num_batched_tokens=3)
    assert log.step_end == [33.25, 33.25 + 25, 33.25 + 25 + 5101]
    assert log.busy_s == log.step_end[-1]
    assert log.peak_tokens == log.peak_blocks == 6


def test_the_clock_jumps_while_nothing_runs_or_waits():
    log = run([(1, 1), (1, 1)], 9, arrival_s=[5.0, 5.5])
    assert log.step_clock == [5.0, 6.0]
    assert log.step_arrived == [1, 1]
    assert log.busy_s == 2.0


# ---- admission ----


@pytest.mark.parametrize(("admission", "step"), [("prompt", 2), ("chunk", 1)])
def test_a_prompt_waits_for_room_for_all_of_it_or_for_its_first_chunk(admission, step):
    # Step 1: the first prompt's fourth token leaves 2 of 6 blocks and 2 of 3 tokens of budget.
    log = run([(4, 1), (4, 1)], 6, admission=admission, max_num_batched_tokens=3)
    assert log.adm_step == [0, step]


def test_peak_counts_final_sizes_in_whole_blocks():
    # Final sizes 5 and 4 are two blocks of 4 and one.
    requests = [(3, 2), (3, 1)]
    assert run(requests, 3, admission="peak", block_size=4).adm_step == [0, 0]
    assert run(requests, 2, admission="peak", block_size=4).adm_step == [0, 2]


@pytest.mark.parametrize(("usable", "step"), [(8, 6), (9, 3)])
def test_peak_counts_the_next_token_of_a_request_that_outgrew_its_prediction(usable, step):
    # After three tokens the first holds at least 2 + 3 + 1; the second adds 2 + 1.
    log = run([(2, 6), (2, 1)], usable, arrival_s=[0.0, 3.0], predicted=[1, 1], admission="peak")
    assert log.adm_step == [0, step]


@pytest.mark.parametrize(("usable", "step"), [(8, 0), (7, 1)])
def test_look_ahead_counts_each_coming_step(usable, step):
    # (3, 2) holds 4, 5 and (1, 4) holds 2, 3, 4, 5: together 6 and 8, a step apart at most 7.
    assert run([(3, 2), (1, 4)], usable, admission="look_ahead").adm_step == [0, step]


def test_look_ahead_believes_predictions():
    log = run([(3, 2), (1, 4)], 7, admission="look_ahead", predicted=[1, 1])
    assert log.adm_step == [0, 0]


def test_predicted_demand_keeps_the_watermark_free_only_while_somebody_runs():
    # 25 % of 9 blocks is 2. The first needs 7 alone; then 3 + 3 of 8 leave 2, 3 + 4 do not.
    for requests, steps in (
        ([(6, 1)], [0]),
        ([(2, 1), (2, 1)], [0, 0]),
        ([(2, 1), (2, 2)], [0, 1]),
    ):
        assert run(requests, 8, admission="peak", watermark=0.25).adm_step == steps


@pytest.mark.parametrize("admission", ["peak", "look_ahead"])
def test_a_prediction_beyond_all_memory_starts_alone(admission):
    log = run([(2, 1), (2, 1)], 4, predicted=[9, 1], admission=admission)
    assert log.adm_step == [0, 1]


@pytest.mark.parametrize("num_instances", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("admission", ["look_ahead", "peak"])
def test_a_backlog_in_unit_steps_equals_simulate(admission, num_instances):
    """A request started after round p gives its first token in step p, the steps from 0."""
    rng = np.random.default_rng(7)
    shape = (num_instances, 8)
    capacity = rng.integers(2, 40, num_instances)
    prompt = np.minimum(rng.integers(1, 20, shape), capacity[:, None] - 1)
    output = np.minimum(rng.integers(1, 20, shape), capacity[:, None] - prompt)
    priority = rng.integers(-2, 3, shape)
    max_num_seqs = rng.integers(1, 9, num_instances)
    inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
    sched = js.simulate(inst, priority, admission=admission, max_num_seqs=max_num_seqs)
    start, completion = np.asarray(sched.start), np.asarray(sched.completion)
    for row in range(num_instances):
        log = serve(
            [0.0] * shape[1],
            prompt[row],
            output[row],
            Settings(
                num_gpu_blocks=int(capacity[row]) + 1,
                block_size=1,
                max_num_seqs=int(max_num_seqs[row]),
                max_num_batched_tokens=10**6,
                policy="priority",
                admission=admission,
            ),
            STEPS,
            priority=priority[row],
        )
        assert log.out_first_token_step == start[row].tolist()
        assert log.out_finish_time == completion[row].tolist()
        assert log.num_preemptions == 0


# ---- preemption: two prompts of 2, five blocks; step 1 has a block for one of them ----

TWO = [(2, 4), (2, 2)]


def test_recompute_computes_the_generated_tokens_again():
    log = run(TWO, 5)
    assert (log.pre_step, log.pre_req) == ([1], [1])
    assert entries(log, 4) == [(1, 3)]
    assert log.out_first_token_time == [1.0, 1.0]
    assert log.out_finish_time == [4.0, 5.0]
    assert log.recomputed_tokens == 2
    assert log.adm_resumed == [False, False, True]


def test_swap_keeps_computed_tokens_and_pays_for_them_twice():
    log = run(TWO, 5, preemption="swap", swap_s_per_token=0.5)
    assert log.step_swapped == [0, 2, 0, 0, 2]
    assert log.step_end == [1.0, 3.0, 4.0, 5.0, 7.0]
    # It comes back decoding: one token, over the two it held, in three blocks.
    assert entries(log, 4) == [(1, 1)]
    assert (log.step_P[4], log.step_B[4], log.step_KV[4], log.step_free_mid[4]) == (0, 1, 2, 2)
    assert log.recomputed_tokens == 0


def test_restart_loses_the_generated_tokens():
    log = run(TWO, 5, preemption="restart")
    assert entries(log, 4) == [(1, 2)]
    assert log.out_first_token_time == [1.0, 5.0]
    assert log.out_finish_time == [4.0, 6.0]
    assert log.out_first_sched_time == [0.0, 0.0]
    assert log.out_sampled == [4, 2]


def test_never_leaves_a_request_without_blocks_where_it_is():
    log = run([(2, 2), (2, 2)], 5, preemption="never")
    assert [entries(log, step) for step in range(3)] == [[(0, 2), (1, 2)], [(0, 1)], [(1, 1)]]
    assert log.status == "ok"


def test_never_stops_when_nobody_finds_a_block():
    log = run(TWO, 5, preemption="never")
    assert log.status == "stalled"
    assert len(log.step_end) == 2
    assert log.out_status == ["unfinished", "unfinished"]
    assert log.out_sampled == [2, 1]


def test_never_admits_nobody_in_a_step_that_lacks_blocks():
    # Step 1: the second asks for 2 blocks and finds 1, which the third could use, but waits.
    log = run([(1, 3), (5, 1), (1, 1)], 5, preemption="never", max_num_batched_tokens=3)
    assert entries(log, 1) == [(0, 1)]
    assert entries(log, 3) == [(1, 3)]
    assert log.adm_step == [0, 0, 4]


# ---- victims ----


@pytest.mark.parametrize(
    ("rule", "victim"),
    [
        ("last_admitted", 1),
        ("worst_priority", 2),  # the latest arrival among the worst level
        ("least_computed", 0),  # first of equals in running order
        ("most_memory", 2),
        ("longest_remaining", 0),
        ("rule", 3),
    ],
)
def test_victims_are_the_first_of_equals_in_running_order(rule, victim):
    stream = SimpleNamespace(
        settings=Settings(9, victim=rule),
        running=[3, 0, 2, 1],
        priority=[5.0, 5.0, 5.0, 0.0],
        arrival=[0.0, 1.0, 1.0, 2.0],
        computed=[4, 4, 9, 6],
        held=[1, 2, 3, 3],
        rank=[0.0, 0.0, 7.0, 7.0],
        remaining=[8, 8, 1, 2].__getitem__,
    )
    stream.held[3] = 2
    assert choose_victim(stream) == victim


def test_a_victim_that_was_served_returns_its_tokens_and_goes_to_the_front():
    # Step 1: the first takes the last block, the second evicts it for holding the fewest tokens.
    log = run([(1, 5), (4, 2), (1, 1)], 6, victim="least_computed", max_num_seqs=2)
    assert entries(log, 1) == [(1, 1)]
    assert (log.pre_step, log.pre_req) == ([1], [0])
    assert log.adm_req == [0, 1, 0, 2]


# ---- prefill-first steps ----


def test_a_step_is_prefill_only_while_a_prompt_fills_or_can_be_admitted():
    log = run(
        [(3, 3), (3, 1)], 99, arrival_s=[0.0, 1.0], max_num_batched_tokens=2, prefill_first=True
    )
    assert [entries(log, step) for step in range(5)] == [
        [(0, 2)],
        [(0, 1), (1, 1)],  # what is filling, then an admission
        [(1, 2)],  # the first decodes and waits
        [(0, 1)],
        [(0, 1)],
    ]


def test_a_prefill_step_that_grants_nothing_becomes_a_decode_step():
    # Step 2: the second prompt finds no blocks for its rest and evicts itself.
    log = run(
        [(2, 4), (4, 1)], 5, arrival_s=[0.0, 1.0], max_num_batched_tokens=2, prefill_first=True
    )
    assert entries(log, 1) == [(1, 2)]
    assert (log.pre_step[0], log.pre_req[0]) == (2, 1)
    assert entries(log, 2) == [(0, 1)]


# ---- prefill_schedule_interval (of vLLM, in none of its logs) ----


@pytest.mark.parametrize(("prompt", "step"), [(2, 3), (1, 1)])
def test_prompts_of_more_than_a_token_wait_for_the_interval(prompt, step):
    log = run([(2, 6), (prompt, 1)], 99, arrival_s=[0.0, 1.0], prefill_schedule_interval=3)
    assert log.adm_step == [0, step]


def test_the_interval_does_not_hold_while_the_last_free_step_left_somebody_waiting():
    # Step 0 seats two of three. When a seat is free, step 2 admits the third at once.
    log = run([(2, 6), (2, 2), (2, 1)], 99, max_num_seqs=2, prefill_schedule_interval=9)
    assert log.adm_step == [0, 0, 2]


# ---- refusals and statuses ----


def test_what_could_never_finish_is_refused_and_takes_no_part():
    # Five blocks of 4: 20 tokens; the last token is never stored.
    log = run([(10, 12), (10, 11), (20, 1), (21, 1)], 5, block_size=4)
    assert log.out_status == ["refused", "finished", "finished", "refused"]
    assert log.step_arrived[0] == 2


def test_max_model_len_cuts_outputs_and_refuses_prompts_that_leave_no_room():
    log = run([(3, 9), (7, 9), (8, 1)], 99, max_model_len=8)
    assert log.out_status == ["finished", "finished", "refused"]
    assert log.out_sampled == [5, 1, 0]


def test_max_model_len_cuts_predictions():
    # Both are believed to reach 8 tokens, not 3 + 9.
    log = run([(3, 5), (3, 5)], 16, predicted=[9, 9], max_model_len=8, admission="peak")
    assert log.adm_step == [0, 0]


def test_without_chunking_known_tokens_must_fit_the_budget():
    log = run([(5, 4), (5, 5)], 99, max_num_batched_tokens=8, enable_chunked_prefill=False)
    assert log.out_status == ["finished", "refused"]


def test_the_step_limit_leaves_requests_unfinished():
    log = run([(1, 5)], 9, max_steps=3)
    assert (log.status, log.out_status, log.out_sampled) == ("step_limit", ["unfinished"], [3])
    assert math.isnan(log.out_finish_time[0])
    assert run([(1, 3)], 9, max_steps=3).status == "ok"


@pytest.mark.parametrize("which", ["priority", "victim_rank"])
def test_nan_priorities_and_ranks_stop_the_stream(which):
    log = serve([0.0, 0.0], [1, 1], [1, 1], Settings(9), STEPS, **{which: [0.0, math.nan]})
    assert (log.status, log.step_end) == ("nan_priority", [])


def test_arrivals_must_ascend():
    with pytest.raises(ValueError, match="arrival_s does not ascend"):
        run([(1, 1), (1, 1)], 9, arrival_s=[1.0, 0.0])
