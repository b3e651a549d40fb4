"""The experiments' hand-written rival decides as vLLM and the oracle do."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from tests.engine.online import stored_logs, vllm_logs
from tests.engine.online.scenarios import VLLM_OPTIONS, random_scenario

pytest.importorskip("numba", reason="the rival of the experiments needs the extra dev")
pytestmark = pytest.mark.slow  # compiles for half a minute

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
COLUMNS = {
    "first_scheduled_step": "out_first_sched_step",
    "first_token_step": "out_first_token_step",
    "finish_step": "out_finish_step",
    "first_scheduled_s": "out_first_sched_time",
    "first_token_s": "out_first_token_time",
    "completion_s": "out_finish_time",
    "num_preemptions": "out_preemptions",
}
TOTALS = {"busy_s": "busy_s", "peak_blocks": "peak_blocks"}
STATUSES = ["ok", "step_limit", "nan_priority"]


@pytest.fixture(scope="module")
def rival():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXPERIMENTS)
        import _serve_numba

        yield _serve_numba


def outcomes_of(rival, scenarios):
    """Outcomes of scenarios that have as many requests each, served together."""
    servers = rival.Servers(
        num_gpu_blocks=np.array([s.settings.num_gpu_blocks for s in scenarios]),
        block_size=np.array([s.settings.block_size for s in scenarios]),
        max_num_seqs=np.array([s.settings.most_running for s in scenarios]),
        max_num_batched_tokens=np.array([s.settings.max_num_batched_tokens for s in scenarios]),
        max_model_len=np.array([s.settings.max_model_len for s in scenarios]),
        enable_chunked_prefill=np.array([s.settings.enable_chunked_prefill for s in scenarios]),
        long_prefill_token_threshold=np.array(
            [s.settings.long_prefill_token_threshold for s in scenarios]
        ),
        long_prefill_token_threshold_adaptive=np.array(
            [s.settings.long_prefill_token_threshold_adaptive for s in scenarios]
        ),
        is_priority=np.array([s.settings.policy == "priority" for s in scenarios]),
        watermark=np.array([s.settings.watermark for s in scenarios]),
        scheduler_reserve_full_isl=np.array([s.settings.admission == "prompt" for s in scenarios]),
        prefill_schedule_interval=np.array(
            [s.settings.prefill_schedule_interval for s in scenarios]
        ),
        clock_s=np.array([s.clock for s in scenarios]),
    )
    step_by_step, shared = (
        rival.serve(
            np.array([s.arrival_s for s in scenarios]),
            np.array([s.prompt for s in scenarios]),
            np.array([s.output for s in scenarios]),
            servers,
            priority=np.array([s.priority for s in scenarios]),
            max_steps=scenarios[0].max_steps,
            shares_decodes=shares_decodes,
        )
        for shares_decodes in (False, True)
    )
    for name, values, others in zip(shared._fields, step_by_step, shared, strict=True):
        np.testing.assert_array_equal(values, others, name)
    return shared


def assert_equals(outcomes, row, log):
    for name, column in {**COLUMNS, **TOTALS, "recomputed_tokens": "out_recomputed"}.items():
        np.testing.assert_array_equal(getattr(outcomes, name)[row], getattr(log, column), name)
    assert outcomes.num_steps[row] == len(log.step_end)
    assert STATUSES[outcomes.status[row]] == log.status


@pytest.mark.parametrize("name", vllm_logs.NAMES)
def test_requests_equal_the_log_of_vllm(rival, vllm_logs_dir, name):
    scenario, columns = vllm_logs.load(vllm_logs_dir / f"{name}.npz")
    outcomes = outcomes_of(rival, [scenario])
    for ours, theirs in COLUMNS.items():
        np.testing.assert_array_equal(getattr(outcomes, ours)[0], columns[theirs], ours)
    assert outcomes.num_steps[0] == len(columns["step_end"])


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in stored_logs.CASES.items()
        if not case.keys() & VLLM_OPTIONS.keys() and case.get("admission", "chunk") == "chunk"
    ],
)
def test_requests_equal_the_stored_log(rival, name):
    scenario, log = stored_logs.load(stored_logs.FOLDER / f"{name}.json")
    assert_equals(outcomes_of(rival, [scenario]), 0, log)


@pytest.mark.parametrize(("max_requests", "num_seeds"), [(12, 5_000), (150, 200)])
def test_requests_equal_the_oracle(rival, max_requests, num_seeds):
    by_length = defaultdict(list)  # streams of one length are served together
    for seed in range(num_seeds):
        admission = ("prompt", "chunk")[seed % 2]
        scenario = random_scenario(
            seed, max_requests=max_requests, admission=admission, **VLLM_OPTIONS
        )
        by_length[len(scenario.prompt)].append(scenario)
    for together in by_length.values():
        outcomes = outcomes_of(rival, together)
        for row, scenario in enumerate(together):
            assert_equals(outcomes, row, scenario.log())
