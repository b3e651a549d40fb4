"""How well clocks fit what people measured: public benchmark tables of real engines.

The tables are those that NVIDIA's aiconfigurator is tested by, 5,221 rows of time to first token
and time per output token. They are not in the repository: ``pip install --no-deps
aiconfigurator-core==0.12.0`` (Apache-2.0) brings them, or ``--table`` names the file.

Where memory is full, clients wait for it, and fewer run than the table says. Tables with such rows
are fitted with them and without.
"""

import importlib.util
import sys
import warnings
from pathlib import Path

import _common
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import jaxsched as js

PACKAGE, FILE = "aiconfigurator_core", "systems/silicon_sample.csv"
#: What names a table: model, its precision where it is said, machine, engine, version, GPUs.
KEYS = ("model_path", "precision", "system", "backend", "backend_version", "tp_size")
TABLES = (
    ("meta-llama/Llama-3.1-8B-Instruct", "", "h100_sxm", "trtllm", "1.0.0rc3", 1),
    ("meta-llama/Llama-3.1-8B-Instruct", "", "h100_sxm", "trtllm", "1.0.0rc3", 2),
    ("Qwen/Qwen3-32B", "", "h100_sxm", "vllm", "0.12.0", 2),
    ("Qwen/Qwen3-32B", "", "h100_sxm", "vllm", "0.12.0", 4),
    ("Qwen/Qwen3-32B", "", "h100_sxm", "sglang", "0.5.1.post1", 4),
    ("Qwen/Qwen3-235B-A22B-FP8", "fp8", "h100_sxm", "trtllm", "1.0.0rc3", 8),
    ("deepseek-ai/DeepSeek-R1", "fp8", "b200_sxm", "sglang", "0.5.9", 8),
)
BUDGET = 8192  # tokens a step, more than any row needs
MOST_TTFT_MS = 5000  # who waits longer is taken to wait for memory
COEFFICIENTS = (
    "iteration_ms",
    "prefill_ms_per_token",
    "decode_ms_per_request",
    "kv_ms_per_token",
)


def rows_of(path):
    """Read the rows of one engine that prefills and decodes."""
    rows = pd.read_csv(path, low_memory=False).fillna({"precision": ""})
    return rows[rows["mode"] == "agg"]


def made_up():
    """Rows of the same form, for a smoke run."""
    rng = np.random.default_rng(0)
    shapes = [(s, o, b) for s in (1024, 4096) for o in (128, 512, 1024) for b in (8, 32)]
    s, o, b = np.array(shapes).T
    tpot = (6 + 0.02 * b * s / o + 0.01 * b + 4e-5 * b * (s + o / 2)) * rng.normal(1, 0.01, s.size)
    times = {"silicon_tpot_ms": tpot, "silicon_ttft_ms": np.where(b > 8, 9000.0, 30.0)}
    columns = {"isl": s, "osl": o, "batch_size": b, **times}
    return pd.DataFrame({**dict(zip(KEYS, TABLES[0], strict=True)), **columns})


def fits(rows, table):
    """Fit a clock to the table of one engine, also without rows that waited for memory."""
    chosen = rows[rows[list(KEYS)].eq(list(table)).all(axis=1)]
    yield fitted(chosen, table, None)
    quick = chosen[chosen["silicon_ttft_ms"] <= MOST_TTFT_MS]
    if len(quick) < len(chosen):
        yield fitted(quick, table, MOST_TTFT_MS)


def fitted(chosen, table, most_ttft_ms):
    """Fit a clock to rows, and tell its errors."""
    columns = {
        "prompt_tokens": chosen["isl"],
        "output_tokens": chosen["osl"],
        "concurrency": chosen["batch_size"],
        "tpot_ms": chosen["silicon_tpot_ms"],
    }
    found = js.calibrate.fit_bench(columns, max_num_batched_tokens=BUDGET)
    errors = {"linear": found, **found.alternatives}
    return {
        **dict(zip(KEYS, table, strict=True)),
        "most_ttft_ms": most_ttft_ms,
        "rows": len(chosen),
        "rows_used": found.measured_ms.size,
        "shapes": found.num_shapes,
        **{name: float(getattr(found.clock, name)) for name in COEFFICIENTS},
        **{
            f"{form}_{seen}_{statistic}": getattr(getattr(each, seen), statistic)
            for form, each in errors.items()
            for seen in ("seen", "unseen")
            for statistic in ("mean", "largest")
        },
    }


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--table", type=Path, help=f"{Path(FILE).name}, if not installed")
    options = arguments.parse_args()
    if options.smoke:
        found = list(fits(made_up(), TABLES[0]))
    else:
        path = options.table
        if path is None:
            spec = importlib.util.find_spec(PACKAGE)
            if spec is None or spec.origin is None:
                sys.exit("no tables: pip install --no-deps aiconfigurator-core==0.12.0, or --table")
            path = Path(spec.origin).parent / FILE
        rows = rows_of(path)
        found = [row for table in TABLES for row in fits(rows, table)]
    shown = Table(*found[0])
    for row in found:
        shown.add_row(*(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
    Console(width=250).print(shown)
    source = "aiconfigurator-core 0.12.0, systems/silicon_sample.csv, Apache-2.0"
    settings = {"source": source, "max_num_batched_tokens": BUDGET}
    _common.write_results("calibration_measured", found, 0, **settings)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "the clock rests on")
    main()
