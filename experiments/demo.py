"""How do the rules compare on the workload of `make demo`? Its table as numbers that are kept."""

from __future__ import annotations

import _common
import jax

import jaxsched as js

SEED = 0
RULES = ["fcfs", "shortest_output", "shortest_prompt", "total_size", "smallest_volume"]


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    requests, instances = (20, 4) if is_smoke else (1000, 64)
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=requests, batch=instances)
    found = js.compare(inst, RULES, baseline="fcfs")
    print(found)
    settings = {"workload": "mixed", "requests": requests, "instances": instances}
    settings["kv_capacity"] = int(inst.kv_capacity.max())
    _common.write_results("demo", _common.comparison_rows(found), SEED, **settings)


if __name__ == "__main__":
    main()
