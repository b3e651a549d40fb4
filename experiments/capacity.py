"""What a better rule saves in memory: the KV capacity each needs for a target.

The target is a mean latency of 400 rounds on backlogs of 200 requests of `mixed`. A rule's need is
the least capacity at which the mean over backlogs meets it; its interval goes from where the lower
95% limit of that mean meets the target to where the upper one does. With less than the volume
bound's capacity no schedule meets it.
"""

from __future__ import annotations

from typing import Any

import _common
import jax
import matplotlib

import jaxsched as js

matplotlib.use("agg")

SEED = 0
RULES = ("fcfs", "shortest_output", "sorted_f", "smallest_volume")
TARGET = ("mean", 400.0)
NUM_REQUESTS = 200


def curves(needs: dict[str, Any]) -> list[_common.Row]:
    """Mean latency of each rule at each capacity that was tried."""
    columns = ("at", "mean", "low", "high")
    return [
        {"rule": rule, "kv_capacity": at, "mean": mean, "low": low, "high": high}
        for rule, need in needs.items()
        for at, mean, low, high in zip(*(need["curve"][name] for name in columns), strict=True)
    ]


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    batch = 4 if is_smoke else 128
    inst = js.workloads.mixed(jax.random.key(SEED), NUM_REQUESTS, batch=batch)
    plan = js.plan_capacity(inst, RULES, TARGET)
    print(plan)
    found, saved = plan.to_dict(), plan.saved()
    limit = {found["bound"]["name"] + " bound": found["bound"]}
    rows = [
        {
            "rule": rule,
            "kv_capacity": need["capacity"],
            "kv_capacity_low": need["interval"][0],
            "kv_capacity_high": need["interval"][1],
            "missed_again": need["missed_again"],
            "saved": saved[rule],
        }
        for rule, need in found["rules"].items()
    ]
    rows += [{"rule": name, "kv_capacity": bound["capacity"]} for name, bound in limit.items()]
    path = _common.write_results(
        "capacity",
        rows,
        SEED,
        {"curves": curves(found["rules"] | limit)},
        workload="mixed",
        requests=NUM_REQUESTS,
        instances=batch,
        target=found["target"],
    )
    ax = plan.plot(title="workload mixed")
    ax.figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
