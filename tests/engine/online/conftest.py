"""Where the logs of other schedulers lie, which are no part of this repository."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _folder(variable: str, name: str, holds: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(
            f"no logs in {folder}; point {variable} at a folder that holds {holds} "
            "(the logs in tests/engine/online/logs are checked without it)"
        )
    return folder


@pytest.fixture(scope="session")
def vllm_logs_dir():
    """Folder of what vLLM's own scheduler decided, one .npz a scenario."""
    return _folder("JAXSCHED_LOGS", "vllm_logs", "d01_roomy.npz to d20_watermark_idle.npz")


@pytest.fixture(scope="session")
def ais_parity_dir():
    """Folder of what aisimulate decided."""
    return _folder("JAXSCHED_AIS_PARITY", "ais_parity", "ais_parity_azure3000.csv.gz")
