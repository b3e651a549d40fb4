"""Service metrics and fairness as loops over the tokens of one stream's log: an oracle.

Plain Python, slow and obvious; it shares no code with the package.
"""

from __future__ import annotations

import math
from dataclasses import replace

from tests.reference.clock_and_metrics import percentile
from tests.reference.online import serve
from tests.reference.online_settings import Log, Settings

PERCENTS = (50, 90, 95, 99)


def token_times(log: Log, *, restarts: bool) -> list[list[float]]:
    """When each output token of each request was there; those that a restart lost are not."""
    times = [[] for _ in log.out_status]
    first = 0
    for step, end in enumerate(log.step_end):
        for evicted, request in zip(log.pre_step, log.pre_req, strict=True):
            if evicted == step and restarts:
                times[request] = []
        for entry in range(first, first + log.step_entries[step]):
            if log.ent_sampled[entry]:
                times[log.ent_req[entry]].append(end)
        first += log.step_entries[step]
    return times


def summary(
    scenario,
    log: Log,
    *,
    ttft_slo_s: list[float] | None = None,
    tpot_slo_s: list[float] | None = None,
    e2e_slo_s: list[float] | None = None,
    window: tuple[float, float] | None = None,
) -> dict[str, float]:
    """Every metric, targets given for each request; the percentiles of itl_s are exact."""
    settings: Settings = scenario.settings
    times = token_times(log, restarts=settings.preemption == "restart")
    chosen = [
        r for r, t in enumerate(scenario.arrival_s) if window is None or window[0] <= t < window[1]
    ]
    served = [r for r in chosen if log.out_status[r] == "finished"]
    arrival = scenario.arrival_s
    ttft = {r: times[r][0] - arrival[r] for r in served}
    e2e = {r: times[r][-1] - arrival[r] for r in served}
    tpot = {
        r: (times[r][-1] - times[r][0]) / (len(times[r]) - 1) for r in served if len(times[r]) > 1
    }
    gaps = [b - a for r in served for a, b in zip(times[r], times[r][1:], strict=False)]
    measures = {
        **_distribution("ttft_s", list(ttft.values())),
        **_distribution("tpot_s", list(tpot.values())),
        **_distribution("itl_s", gaps),
        **_distribution("e2e_s", list(e2e.values())),
        **_distribution("queueing_s", [log.out_first_sched_time[r] - arrival[r] for r in served]),
        **_distribution("normalized_latency_s", [e2e[r] / len(times[r]) for r in served]),
        **_distribution("slowdown", [e2e[r] / alone_s(scenario, r) for r in served]),
    }
    if window is not None or log.status != "ok":
        # The histogram holds gaps of all requests.
        measures = {k: v for k, v in measures.items() if not (k[0] == "p" and k.endswith("itl_s"))}

    duration = _duration(scenario, chosen, times, served)
    measures["num_requests"] = len(chosen)
    measures["num_refused"] = sum(log.out_status[r] == "refused" for r in chosen)
    measures["num_unfinished"] = sum(log.out_status[r] == "unfinished" for r in chosen)
    measures["duration_s"] = duration
    output = sum(len(times[r]) for r in served)
    measures["throughput_requests_per_s"] = len(served) / duration if served else 0
    measures["throughput_tokens_per_s"] = output / duration if served else 0
    total = output + sum(scenario.prompt[r] for r in served)
    measures["throughput_total_tokens_per_s"] = total / duration if served else 0
    if not (ttft_slo_s is None and tpot_slo_s is None and e2e_slo_s is None):
        good = 0
        for r in served:
            meets = ttft_slo_s is None or ttft[r] <= ttft_slo_s[r]
            meets = meets and (tpot_slo_s is None or tpot.get(r, 0) <= tpot_slo_s[r])
            good += meets and (e2e_slo_s is None or e2e[r] <= e2e_slo_s[r])
        measures["goodput_requests_per_s"] = good / duration if good else 0
        measures["attainment"] = good / len(chosen)
    measures["num_preemptions"] = sum(log.out_preemptions[r] for r in chosen)
    measures["share_preempted"] = sum(log.out_preemptions[r] > 0 for r in chosen) / len(chosen)
    return measures | _whole_run(scenario, log, times)


def _whole_run(scenario, log: Log, times) -> dict[str, float]:
    everyone = range(len(times))
    served = [r for r in everyone if log.out_status[r] == "finished"]
    measures = {
        "num_steps": len(log.step_end),
        "recomputed_tokens": sum(log.out_recomputed),
        "peak_kv_tokens": max(log.step_tokens, default=0),
    }
    is_over = "unfinished" not in log.out_status
    run = _duration(scenario, everyone, times, served) if is_over else math.nan
    held = sum(
        tokens * (end - begin)
        for tokens, begin, end in zip(log.step_tokens, log.step_clock, log.step_end, strict=True)
    )
    computed = sum(log.ent_tok)
    mean = held / run if held else 0
    kv_capacity = scenario.settings.usable_blocks * scenario.settings.block_size
    share = sum(log.out_recomputed) / computed if computed else 0
    measures["recompute_share"] = share if is_over else math.nan
    measures["mean_kv_tokens"] = mean
    measures["peak_kv_share"] = measures["peak_kv_tokens"] / kv_capacity
    measures["mean_kv_share"] = mean / kv_capacity
    busy = sum(end - begin for begin, end in zip(log.step_clock, log.step_end, strict=True))
    measures["busy_share"] = busy / run if busy else 0
    return measures


def alone_s(scenario, r: int) -> float:
    """End-to-end latency of one request that is alone on the server."""
    settings = replace(scenario.settings, prefill_schedule_interval=1)
    log = serve([0.0], [scenario.prompt[r]], [scenario.output[r]], settings, scenario.clock)
    return log.out_finish_time[0]


def _duration(scenario, chosen, times, served) -> float:
    if not served:
        return math.nan
    return max(times[r][-1] for r in served) - min(scenario.arrival_s[r] for r in chosen)


def _distribution(name: str, values: list[float]) -> dict[str, float]:
    measures = {f"mean_{name}": math.fsum(values) / len(values) if values else math.nan}
    for percent in PERCENTS:
        measures[f"p{percent}_{name}"] = percentile(values, percent) if values else math.nan
    measures[f"max_{name}"] = max(values) if values else math.nan
    return measures


# ---- fairness ----


def service(requests, t: float, *, is_after: bool) -> float:
    """Service of a client's requests until just before or just after a time."""

    def is_past(moment):
        return moment <= t if is_after else moment < t

    total = 0.0
    for each in requests:
        if each["status"] != "finished":
            continue
        if is_past(each["first_scheduled"]):
            total += each["prompt"]
        if is_past(each["first_token"]):
            begin, end, later = each["first_token"], each["completion"], each["output"] - 1
            share = 1 if is_past(end) else (t - begin) / (end - begin)
            total += 2 * (1 + later * share)
    return total


def waits_between(requests, begin: float, end: float) -> bool:
    """Whether some request of a client waits between two neighboring moments."""
    return any(
        each["status"] != "refused"
        and each["arrival"] <= begin
        and not each["first_scheduled"] <= begin  # NaN: never
        for each in requests
    )


def fairness(records: list[dict]) -> dict:
    """Fairness of one stream, whose requests are records with their times, status and client."""
    clients = sorted({each["client"] for each in records})
    of = {c: [each for each in records if each["client"] == c] for c in clients}
    moments = sorted(
        {
            each[name]
            for each in records
            for name in ("arrival", "first_scheduled", "first_token", "completion")
            if not math.isnan(each[name])
        }
    )
    largest = 0.0
    for u in clients:
        for v in clients:
            for first in range(len(moments) - 1):
                # As long as both wait from moments[first] on.
                differences = []
                for k in range(first, len(moments) - 1):
                    begin, end = moments[k], moments[k + 1]
                    if not all(waits_between(of[c], begin, end) for c in (u, v)):
                        break
                    for t, is_after in ((begin, False), (begin, True), (end, False)):
                        gained = [service(of[c], t, is_after=is_after) for c in (u, v)]
                        differences.append(gained[0] - gained[1])
                if differences:
                    largest = max(largest, max(differences) - min(differences))
    served = {c: [r for r in of[c] if r["status"] == "finished"] for c in clients}
    total = {c: sum(r["prompt"] + 2 * r["output"] for r in served[c]) for c in clients}
    ttft = {
        c: sum(r["first_token"] - r["arrival"] for r in served[c]) / len(served[c])
        for c in clients
        if served[c]
    }
    return {
        "client": clients,
        "num_requests": [len(of[c]) for c in clients],
        "service": [total[c] for c in clients],
        "mean_ttft_s": [ttft.get(c, math.nan) for c in clients],
        "largest_difference": largest,
        "jain_service": jain([total[c] for c in clients if served[c]]),
        "jain_ttft": jain(list(ttft.values())),
    }


def jain(values: list[float]) -> float:
    squares = len(values) * sum(x * x for x in values)
    return sum(values) ** 2 / squares if squares else math.nan
