"""What a better rule saves in memory: the KV capacity each needs for a target.

The target is a mean latency of 400 rounds on backlogs of 200 requests of `mixed`. A rule's need is
the least capacity at which the mean over backlogs meets it; its interval goes from where the lower
95% limit of that mean meets the target to where the upper one does. With less than the volume
bound's capacity no schedule meets it.
"""

from __future__ import annotations

import _common
import jax
import matplotlib

import jaxsched as js

matplotlib.use("agg")

SEED = 0
RULES = ("fcfs", "shortest_output", "sorted_f", "smallest_volume")
TARGET = ("mean", 400.0)
NUM_REQUESTS = 200


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    batch = 4 if is_smoke else 128
    inst = js.workloads.mixed(jax.random.key(SEED), NUM_REQUESTS, batch=batch)
    plan = js.plan_capacity(inst, RULES, TARGET)
    print(plan)
    payload = {
        "manifest": _common.manifest(SEED),
        "workload": {"name": "mixed", "num_requests": NUM_REQUESTS, "instances": batch},
        "saved_against_fcfs": {rule: round(share, 4) for rule, share in plan.saved().items()},
        **plan.to_dict(),
    }
    path = _common.write_results("capacity", payload)
    ax = plan.plot()
    ax.set_title(plan.description, fontsize="medium")
    ax.figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
