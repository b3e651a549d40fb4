"""Compare the rules on real request lengths: whole files as one backlog each, and samples of them.

Needs `azure2023_conv.csv.gz` and `arxiv_summarization.csv.gz`; says so where they are absent.
"""

from __future__ import annotations

from pathlib import Path

import _common
import jax

import jaxsched as js

SEED = 0
FILES = ("azure2023_conv.csv.gz", "arxiv_summarization.csv.gz")
KV_CAPACITY = 16492
RULES = ["fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume"]
SERVER = "llama2_70b_2xa100"


def backlogs(path: Path, num_requests: int, num_instances: int) -> dict[str, js.Instance]:
    """All rows as one instance, and sampled instances of one size."""
    return {
        "whole file": js.traces.load(path, KV_CAPACITY),
        "samples": js.traces.load(
            path,
            KV_CAPACITY,
            num_requests=num_requests,
            batch=num_instances,
            key=jax.random.key(SEED),
        ),
    }


def compared(inst: js.Instance) -> list[_common.Row]:
    """Print the table and return its numbers."""
    found = js.compare(inst, RULES, baseline="fcfs", clock=js.clock.PRESETS[SERVER])
    print(found, end="\n\n")
    shape = {"requests": int(inst.num_requests.max()), "instances": inst.num_requests.size}
    return [shape | row for row in _common.comparison_rows(found)]


def main() -> None:
    arguments = _common.parser(__doc__).parse_args()
    num_requests, num_instances = (100, 4) if arguments.smoke else (1000, 64)
    folder = _common.data_dir()
    paths = [folder / name for name in FILES] if folder else []
    if absent := [path.name for path in paths if not path.is_file()] or (not folder and FILES):
        print(f"no real lengths: set JAXSCHED_DATA to a folder that holds {' and '.join(absent)}")
        return
    rows = []
    for path in paths:
        name = path.name.partition(".")[0]
        for kind, inst in backlogs(path, num_requests, num_instances).items():
            print(f"{name}, {kind}")
            rows += [{"trace": name, "backlogs": kind} | row for row in compared(inst)]
    settings = {"server": SERVER, "kv_capacity": KV_CAPACITY}
    _common.write_results("compare_traces", rows, SEED, **settings)


if __name__ == "__main__":
    main()
