"""What does the report say of the Azure chat trace on one H100? The picture of the guide.

Needs `azure2023_conv.csv.gz`; says so where it is absent. `report.png` is the page's main figure,
drawn by matplotlib. With `--browser chromium`, `report.page.png` is a screenshot of the page.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import _common
import jax
import matplotlib
import numpy as np

import jaxsched as js

matplotlib.use("agg")

SEED = 0
FILE = "azure2023_conv.csv.gz"
SERVER = "llama3.1_8b_h100"
TARGETS = {"ttft_slo_s": 0.5, "tpot_slo_s": 0.05}
PAGE_SIZE = (820, 5600)  # pixels, which hold the whole page
PAGE_COLORS = 160
METRICS = ("attainment", "p99_ttft_s", "p99_tpot_s", "p99_e2e_s", "num_preemptions")


def choices(found: js.Decision) -> list[_common.Row]:
    """Tell what is taken now, and by the best settings, order and both, on the runs to check on."""
    return [
        {
            "choice": name,
            "is_best": name == found.best,
            "rule": choice.rule,
            **choice.setting,
            **_common.interval("rate", (choice.rate, *choice.interval[1:])),
            **_common.interval("change", choice.change["now"]),
            **_common.interval("change_from_settings", choice.change["settings"]),
            "limit": choice.limit,
        }
        for name, choice in found.choices.items()
    ]


def searched(found: js.Decision) -> list[_common.Row]:
    """Tell the rate of every rule and setting, on the runs to choose by."""
    plan = found.search
    return [
        {"rule": rule, **setting, "rate": plan.value[r, s], "limit": plan.limits[s].rate.item()}
        for r, rule in enumerate(plan.rules)
        for s, setting in enumerate(plan.settings)
    ]


def loads(found: js.Decision) -> list[_common.Row]:
    """Tell the service at each rate of the picture, as means over runs."""
    return [
        {"line": line, "rate": rate} | {name: curve.metrics[name][k].mean() for name in METRICS}
        for line, curve in found.load.items()
        for k, rate in enumerate(curve.at)
    ]


def photograph(page: Path, picture: Path, browser: str) -> None:
    """Have a browser make a picture of the page, and keep it in few colors."""
    from PIL import Image

    width, height = PAGE_SIZE
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    subprocess.run(
        [
            browser,
            *options,
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            str(page),
        ],
        check=True,
        capture_output=True,
    )
    image = Image.open(picture).convert("RGB")
    rows = np.flatnonzero((np.asarray(image) != 255).any(axis=(1, 2)))
    image = image.crop((0, 0, width, rows[-1] + rows[0]))
    image.quantize(PAGE_COLORS).save(picture, optimize=True)


def main() -> None:
    parser = _common.parser(__doc__)
    parser.add_argument("--browser", help="a command that takes screenshots, such as chromium")
    arguments = parser.parse_args()
    folder = _common.data_dir()
    if folder is None or not (folder / FILE).is_file():
        print(f"no real lengths: set JAXSCHED_DATA to a folder that holds {FILE}")
        return
    sizes = {"num_requests": 20, "num_runs": 2} if arguments.smoke else {}
    reqs = js.traces.load_requests(folder / FILE)
    known = js.servers.info(SERVER)
    vary = {"max_num_seqs": [64]} if arguments.smoke else None
    begin = time.perf_counter()
    found = js.decide(
        reqs, known.server, vary=vary, known=known, key=jax.random.key(SEED), **TARGETS, **sizes
    )
    took_s = time.perf_counter() - begin
    print(found)
    path = _common.write_results(
        "report",
        choices(found),
        SEED,
        parts={"search": searched(found), "load": loads(found)},
        trace=FILE,
        server=SERVER,
        runs=found.num_runs,
        requests=found.num_requests,
        gap_cv=round(found.traffic.gap_cv, 4),
        rate=round(found.traffic.rate, 3),
        peak_rate=round(found.traffic.peak_rate, 3),
        erring_rate=float(f"{found.erring.value.item():.5g}"),
        least_latency_s=float(f"{found.least_latency_s:.5g}"),
        decide_s=round(took_s, 1),
        **TARGETS,
    )
    axes = found.plot(title=f"{FILE.partition('.')[0]} on {SERVER}")
    axes["attainment"].figure.savefig(path.with_suffix(".png"), dpi=110)
    if arguments.browser:
        with tempfile.TemporaryDirectory() as place:
            page = Path(place) / "report.html"
            command = f"jaxsched report --trace {FILE} --server {SERVER}"
            found.to_html(
                page,
                name=FILE.partition(".")[0],
                made_by=f"Made by {command} --targets ttft=500ms,tpot=50ms",
            )
            photograph(page, path.with_suffix(".page.png"), arguments.browser)


if __name__ == "__main__":
    main()
