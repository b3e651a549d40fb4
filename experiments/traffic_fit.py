"""Put generated traffic beside recorded traffic: gaps, swings of the rate, joint lengths.

Each trace is imitated by streams of its size, its rate and its lengths: a Poisson process, gamma
and Weibull gaps of its CV, a Poisson process whose rate bursts by the minute as the trace's does,
and Weibull gaps of its CV at a rate that bursts. The last has bursts for that part of the trace's
dispersion of minutes that the gaps alone leave open. Then clients are superposed to the figures
published for four services, at constant rates and at rates that burst by ten minutes.
"""

from __future__ import annotations

import _common
import jax
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

import jaxsched as js
from jaxsched.workloads import arrivals

SEED = 0
TRACES = ("azure2023_conv", "azure2023_code", "mooncake_conversation")
JITTER_S = {"mooncake_conversation": 3.0}  # its times stand on a grid of three seconds
WINDOWS_S = (1.0, 3.0, 10.0, 30.0, 60.0, 180.0)
LONG_WINDOW_S = 600.0  # of the published figures of clients
CLIENT_RATE = 1.0
CLIENT_STREAMS = 2
CLIENT_SWINGS = (0.5, 1.0, 1.5)  # CV of a client's rate from one long window to the next
LEAST_SWING = 0.01
#: As published: clients, share of the top ten and of the largest, rate-weighted CV (median, 90%),
#: share of the rate with a CV above 1.2, and most over mean in windows of ten minutes.
SERVICES = {
    "m-large": (162, 0.63, None, 1.19, 6.2, 0.50, 2.98),
    "m-mid": (109, 0.79, 0.52, 2.04, 27.0, 0.79, 1.92),
    "m-small": (43, 0.93, None, 1.22, 7.0, 0.53, 3.30),
    "R1": (73, 0.68, None, 1.02, 5.6, 0.35, 2.66),
}


def recorded(folder, name):
    """Load a trace; times on a coarse grid are spread over its steps at random."""
    reqs = js.traces.load_requests(folder / f"{name}.csv.gz")
    if name not in JITTER_S:
        return reqs
    times = np.asarray(reqs.arrival_s)
    jittered = times + np.random.default_rng(SEED).uniform(0, JITTER_S[name], times.size)
    order = np.argsort(jittered)
    lengths = (np.asarray(each)[order] for each in (reqs.prompt_tokens, reqs.output_tokens))
    return js.Requests.from_arrays(jittered[order] - jittered.min(), *lengths)


def imitations(key, trace, found, num_streams):
    """Streams of the size, rate and lengths of a trace, by process."""
    size = trace.is_real.shape[-1]
    prompt, output = (
        arrivals.Sample(np.sort(np.asarray(each)))
        for each in (trace.prompt_tokens, trace.output_tokens)
    )
    length_key, key = jax.random.split(key)
    reqs = arrivals.requests(
        *(length_key, size, num_streams),
        prompt=prompt,
        output=output,
        rank_correlation=found["length_correlation"],
    )
    rate, cv = found["rate_requests_per_s"], found["cv_of_gaps"]
    weibull = arrivals.weibull(key, reqs, rate, cv=cv)
    of_gaps = arrivals.describe(weibull, [60.0])["dispersion_60s"]

    def swing(explained):
        """CV of the rate that adds what is not explained to the dispersion of a minute."""
        left = (found["dispersion_60s"] - explained) / (60 * rate)
        return np.sqrt(max(left, LEAST_SWING**2))

    return {
        "poisson": arrivals.poisson(key, reqs, rate),
        "gamma": arrivals.gamma(key, reqs, rate, cv=cv),
        "weibull": weibull,
        "bursts": arrivals.bursts(key, reqs, rate, cv=swing(1.0)),
        "weibull bursts": arrivals.bursts(
            key, reqs, rate, cv=swing(of_gaps), gap_cv=cv, law="weibull"
        ),
    }


def pearson(reqs):
    """Linear correlation of lengths, the mean over streams."""
    lengths = (np.atleast_2d(np.asarray(each)) for each in (reqs.prompt_tokens, reqs.output_tokens))
    return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(*lengths, strict=True)]))


def weighted_quantile(values, weights, share):
    order = np.argsort(values)
    return values[order][np.searchsorted(np.cumsum(weights[order]), share)]


def spreads(shares, median, high):
    """CVs of clients, log-normal when weighted by rate, dealt out regardless of the rate."""
    order = np.random.default_rng(SEED).permutation(shares.size)
    up_to = np.cumsum(shares[order])
    level = np.empty(shares.size)
    level[order] = up_to - shares[order] / 2
    sigma = np.log(high / median) / stats.norm.ppf(0.9)
    return np.clip(median * np.exp(sigma * stats.norm.ppf(level)), 0.1, 100.0)


def services(num_requests):
    """Superpose clients of each service; a row each, stated figures beside reached ones."""
    for name, (count, top_10, largest, median, high, above, peak) in SERVICES.items():
        shares = np.asarray(arrivals.zipf(count, arrivals.zipf_exponent(count, 10, top_10)))
        cv = spreads(shares, median, high)
        inst = js.workloads.chat(jax.random.key(SEED), num_requests, batch=CLIENT_STREAMS)

        def drawn(inst=inst, shares=shares, cv=cv, **options):
            reqs = arrivals.superposed(
                jax.random.key(SEED + 1), inst, CLIENT_RATE, shares=shares, cv=cv, **options
            )
            return arrivals.describe(reqs, [LONG_WINDOW_S])

        found, peak_name = drawn(), f"peak_to_mean_{LONG_WINDOW_S:g}s"
        yield {
            "service": name,
            "clients": count,
            "zipf_exponent": arrivals.zipf_exponent(count, 10, top_10),
            "top_10_share_stated": top_10,
            "top_10_share_set": shares[:10].sum(),
            "top_10_share_drawn": found["top_10_share"],
            "largest_share_stated": largest,
            "largest_share_set": shares[0],
            "median_cv_stated": median,
            "median_cv_set": weighted_quantile(cv, shares, 0.5),
            "median_cv_drawn": found["median_client_cv"],
            "p90_cv_stated": high,
            "p90_cv_set": weighted_quantile(cv, shares, 0.9),
            "share_above_1.2_stated": above,
            "share_above_1.2_set": shares[cv > 1.2].sum(),
            "peak_to_mean_stated": peak,
            "peak_to_mean_drawn": found[peak_name],
            "cv_of_gaps": found["cv_of_gaps"],
        } | {
            f"peak_to_mean_swing_{swing:g}": drawn(profiles=arrivals.Bursts(swing, LONG_WINDOW_S))[
                peak_name
            ]
            for swing in CLIENT_SWINGS
        }


def picture(rows):
    """Index of dispersion over the window, a panel a trace."""
    names = list(dict.fromkeys(row["trace"] for row in rows))
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    for ax, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for row in (row for row in rows if row["trace"] == name):
            is_real = row["stream"] == "recorded"
            heights = [row[f"dispersion_{window:g}s"] for window in WINDOWS_S]
            style = {"color": "black", "linewidth": 2.5} if is_real else {"marker": "."}
            ax.plot(WINDOWS_S, heights, label=row["stream"], **style)
        ax.set(xscale="log", yscale="log", title=name, xlabel="window (s)")
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("variance over mean of arrivals")
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def main():
    arguments = _common.parser(__doc__)
    arguments.add_argument("--streams", type=int, default=4, help="streams of each process")
    options = arguments.parse_args()
    num_streams, num_requests = (2, 600) if options.smoke else (options.streams, 20_000)
    rows, folder = [], _common.data_dir()
    if folder is None:
        print("no real files: set JAXSCHED_DATA to compare with recorded traffic")
    for number, name in enumerate(TRACES if folder else ()):
        trace = recorded(folder, name)
        if options.smoke:
            part = (np.asarray(each)[:2000] for each in jax.tree.leaves(trace)[:3])
            trace = js.Requests.from_arrays(*part)
        found = arrivals.describe(trace, WINDOWS_S)
        rows.append({"trace": name, "stream": "recorded", "pearson": pearson(trace)} | found)
        key = jax.random.fold_in(jax.random.key(SEED), number)
        for process, reqs in imitations(key, trace, found, num_streams).items():
            own = arrivals.describe(reqs, WINDOWS_S)
            rows.append({"trace": name, "stream": process, "pearson": pearson(reqs)} | own)
    for row in rows:
        shown = ("cv_of_gaps", "peak_to_mean_60s", "dispersion_60s", "length_correlation")
        print(f"{row['trace']:22} {row['stream']:14}", *(f"{row[each]:9.3g}" for each in shown))
    of_services = list(services(num_requests))
    for row in of_services:
        print(*(f"{k}={v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items()))
    parts = {"clients": of_services}
    path = _common.write_results("traffic_fit", rows, SEED, parts, streams=num_streams)
    if rows:
        picture(rows).savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
