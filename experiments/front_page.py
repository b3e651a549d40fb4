"""Which rule lets people wait least on the workload of `make demo`? The picture of the README."""

from __future__ import annotations

import _common
import jax
import matplotlib
from demo import RULES, SEED

import jaxsched as js

matplotlib.use("agg")

DPI = 220  # sharp at the width of a README, on dense screens too
PAD = 0.15  # inches


def main() -> None:
    is_smoke = _common.parser(__doc__).parse_args().smoke
    requests, instances = (20, 4) if is_smoke else (1000, 64)
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=requests, batch=instances)
    found = js.compare(inst, RULES)
    print(found)
    metric = "mean_latency_rounds"
    rows = [
        {"rule": rule} | _common.interval(metric, estimate)
        for rule, estimate in found.estimate(metric).items()
    ]
    bound = found.bound_on_mean_latency()
    rows.append({"rule": f"{found.bound_name} bound"} | _common.interval(metric, bound))
    settings = {"workload": "mixed", "requests": requests, "instances": instances}
    settings["kv_capacity"] = int(inst.kv_capacity.max())
    path = _common.write_results("front_page", rows, SEED, **settings)
    ax = found.plot(title="Workload mixed: chat and summarization")
    ax.figure.get_layout_engine().set(w_pad=PAD, h_pad=PAD)
    # White, not transparent: black letters are then also read on a dark page.
    ax.figure.savefig(path.with_suffix(".png"), dpi=DPI, facecolor="white")


if __name__ == "__main__":
    main()
