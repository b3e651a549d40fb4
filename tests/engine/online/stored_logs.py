"""Small logs of the online oracle, one for each setting, stored as JSON in ``logs/``.

They hold the scheduler still: the oracle and every implementation must reproduce them. Write them
anew, after a change that is meant to alter decisions, with::

    python -m tests.engine.online.stored_logs

A file holds the scenario (settings other than the defaults of ``Settings``), then each column of
the oracle's ``Log``; null stands for NaN.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from tests.engine.online.scenarios import Scenario
from tests.reference.online_settings import Log, Settings

FOLDER = Path(__file__).parent / "logs"
CLOCK_S = (1.0, 0.125, 0.25, 0.03125, 0.0)  # exact in float64, and short in decimal
BASE = {"num_gpu_blocks": 13, "block_size": 4, "max_num_batched_tokens": 24}
SEED = 135
REQUESTS = ("arrival_s", "prompt", "output", "priority", "predicted", "victim_rank")

# What each log is about: the settings under test, over BASE. Resetting any one changes the log.
CASES = {
    "recompute": {},
    "chunked_prefill": {"max_num_batched_tokens": 6},
    "long_prefill_threshold": {"long_prefill_token_threshold": 5},
    "adaptive_threshold": {
        "long_prefill_token_threshold": 3,
        "long_prefill_token_threshold_adaptive": True,
    },
    "no_chunked_prefill": {"enable_chunked_prefill": False, "max_num_batched_tokens": 40},
    "max_num_seqs": {"max_num_seqs": 3},
    "max_num_active_seqs": {"max_num_active_seqs": 2},
    "watermark": {"watermark": 0.2, "admission": "chunk"},
    "watermark_when_alone": {"watermark": 0.6},
    "max_model_len": {"max_model_len": 22},
    "prefill_interval": {"prefill_schedule_interval": 4, "num_gpu_blocks": 41},
    "priority": {"policy": "priority"},
    "priority_refund": {
        "policy": "priority",
        "admission": "chunk",
        "long_prefill_token_threshold": 3,
        "max_num_batched_tokens": 12,
    },
    "one_block": {"num_gpu_blocks": 2, "block_size": 32},
    "admission_chunk": {"admission": "chunk", "max_num_batched_tokens": 8},
    "admission_peak": {"admission": "peak"},
    "admission_look_ahead": {"admission": "look_ahead"},
    "swap": {"preemption": "swap", "swap_s_per_token": 0.125},
    "restart": {"preemption": "restart"},
    "never": {"preemption": "never"},
    "victim_last_of_running": {"policy": "priority", "victim": "last_admitted"},
    "victim_worst_priority": {"victim": "worst_priority"},
    "victim_least_computed": {"victim": "least_computed"},
    "victim_most_memory": {"victim": "most_memory"},
    "victim_longest_remaining": {"victim": "longest_remaining"},
    "victim_rule": {"victim": "rule"},
    "prefill_first": {"prefill_first": True},
}


def scenario_of(name: str, **changed) -> Scenario:
    """The scenario of a case, with ``changed`` settings."""
    rng = np.random.default_rng([SEED, *name.encode()])
    n = 10
    output = rng.integers(1, 17, n)
    return Scenario(
        settings=Settings(**{**BASE, **CASES[name], **changed}),
        clock=CLOCK_S,
        arrival_s=(np.sort(rng.integers(0, 60, n)) / 4 * (rng.random() < 0.9)).tolist(),
        prompt=rng.integers(1, 25, n).tolist(),
        output=output.tolist(),
        priority=rng.integers(0, 3, n).astype(float).tolist(),
        predicted=np.maximum(output + rng.integers(-9, 6, n), 1).tolist(),
        victim_rank=rng.integers(0, 4, n).astype(float).tolist(),
        max_steps=400,
    )


def load(path: Path) -> tuple[Scenario, Log]:
    """The scenario of a stored log, and the log."""
    stored = json.loads(path.read_text())
    columns = {
        key: [math.nan if x is None else x for x in value] if isinstance(value, list) else value
        for key, value in stored["log"].items()
    }
    scenario = Scenario(
        settings=Settings(**stored["settings"]),
        clock=tuple(stored["clock"]),
        **stored["requests"],
        max_steps=stored["max_steps"],
    )
    return scenario, Log(**columns)


def text_of(scenario: Scenario) -> str:
    """The file that holds a scenario and the oracle's log of it, a column a line."""
    settings = {
        field.name: value
        for field in fields(Settings)
        if (value := getattr(scenario.settings, field.name)) != field.default
    }
    requests = {key: getattr(scenario, key) for key in REQUESTS}
    log = {
        key: [_plain(x) for x in value] if isinstance(value, list) else _plain(value)
        for key, value in asdict(scenario.log()).items()
    }
    parts = [
        f'"settings": {json.dumps(settings)}',
        f'"clock": {json.dumps(scenario.clock)}',
        f'"max_steps": {scenario.max_steps}',
        f'"requests": {_lines(requests)}',
        f'"log": {_lines(log)}',
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _plain(value):
    """Booleans as 0 and 1, whole seconds without a point, NaN as null."""
    if isinstance(value, str):
        return value
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else value


def _lines(columns: dict) -> str:
    lines = [
        f' "{key}": {json.dumps(value, separators=(",", ":"))}' for key, value in columns.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        (FOLDER / f"{name}.json").write_text(text_of(scenario_of(name)))
