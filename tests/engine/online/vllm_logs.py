"""Reading the logs of vLLM's own scheduler."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.engine.online.scenarios import Scenario
from tests.reference.online_settings import Settings

NAMES = (
    "d01_roomy",
    "d02_tight",
    "d03_tiny_budget",
    "d04_long_prompts",
    "d05_long_cap",
    "d06_max_num_seqs",
    "d07_block_edges",
    "d08_bursts",
    "d09_backlog",
    "d10_priority",
    "d11_priority_ties",
    "d12_just_fits",
    "d13_azure_conv",
    "d14_azure_code",
    "d15_arxiv",
    "d16_no_chunking",
    "d17_watermark",
    "d18_model_len",
    "d19_refund",
    "d20_watermark_idle",
)


def load(path: Path) -> tuple[Scenario, dict[str, np.ndarray]]:
    """The scenario of a log, and its columns by name."""
    with np.load(path) as stored:
        arrays = dict(stored)
    meta = json.loads(str(arrays.pop("meta")))
    cost = meta["cost"]
    output = arrays.pop("req_output").tolist()
    scenario = Scenario(
        settings=Settings.from_vllm(meta["config"]),
        clock=(cost["a"], cost["b"], cost["c"], cost["d"], 0.0),
        arrival_s=arrays.pop("req_arrival").tolist(),
        prompt=arrays.pop("req_prompt").tolist(),
        output=output,
        priority=arrays.pop("req_priority").astype(float).tolist(),
        predicted=output,
        victim_rank=[0.0] * len(output),
        max_steps=meta["num_steps"] + 1,
    )
    return scenario, arrays
