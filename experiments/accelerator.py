"""What is an accelerator worth? One command, five minutes, for whoever has one.

First exactness: the device's schedules are those of the host's CPU, and the kernel says where its
slots did not suffice. Then times: the kernel alone by slots, blocks, warps and instances; whole
calls with arrays on the device and on the host; metrics, bounds, search, tuning and serving. The
host's CPU does the same in the same run. Medians are quoted. Without an accelerator the CPU plays
both parts, at small sizes, and the kernel is interpreted.
"""

import functools
import itertools
import statistics
import time

import _common
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxsched as js
from jaxsched.engine.contract import Queues
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.gpu.kernel import start_rounds

SEED = 0
RULES = ("fcfs", "shortest_output", "smallest_volume")
DISCIPLINES = ("strict", "earliest_fit")
HOST = jax.local_devices(backend="cpu")[0]
DEVICE = jax.local_devices()[0]
IS_CPU = DEVICE.platform == "cpu"
COMPILER = "triton" if DEVICE.platform == "gpu" else "interpreter"
#: Instances a second at n = 1,000 that instruction counts promise an H100, nothing forgotten.
ESTIMATES = {"fcfs": 4.7e6, "shortest_output": 3.7e6, "smallest_volume": 1.9e6}


def seconds(call, repeats=5):
    """Median seconds of a call whose results are waited for, once it is compiled."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def on_host(function):
    """Have a call use the host's CPU."""

    def there(*args, **options):
        with jax.default_device(HOST):
            return function(*args, **options)

    return there


def backlogs(n, batch):
    """Instances of the mixed workload as numpy arrays, and their priorities by rule."""
    with jax.default_device(HOST):
        inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=batch)
        priorities = {rule: np.asarray(js.prioritize(inst, rule)) for rule in RULES}
    return jax.tree.map(np.asarray, inst), priorities


def random_backlogs(num_instances, n=60):
    """Short requests with ties, on capacities of all sizes, and caps."""
    rng = np.random.default_rng(SEED)
    capacity = np.exp(rng.uniform(np.log(2), np.log(20 * n), num_instances)).astype(np.int32)
    prompt = np.minimum(rng.integers(1, 20, (num_instances, n)), capacity[:, None] - 1)
    output = np.minimum(rng.integers(1, 20, (num_instances, n)), capacity[:, None] - prompt)
    with jax.default_device(HOST):
        inst = js.Instance.from_lengths(prompt, output, kv_capacity=capacity)
    inst = jax.tree.map(np.asarray, inst)
    return inst, rng.integers(0, n, (num_instances, n)), rng.integers(1, n, num_instances)


def check_exactness(is_small):
    """Compare every schedule of the device with the host's; rows of what was compared."""
    inst, priority, cap = random_backlogs(64 if is_small else 5000)
    cases = {("random", "random", capped): (inst, priority) for capped in (False, True)}
    long, priorities = backlogs(40 if is_small else 1000, 4 if is_small else 64)
    cases |= {("mixed", rule, False): (long, priorities[rule]) for rule in RULES}
    for (workload, rule, capped), (inst, priority) in cases.items():
        for discipline, admission in itertools.product(DISCIPLINES, ("look_ahead", "peak")):
            options = {"discipline": discipline, "admission": admission}
            options["max_num_seqs"] = cap if capped else None
            here = js.simulate(inst, priority, **options)
            there = on_host(js.simulate)(inst, priority, **options)
            num_equal = int((np.asarray(here.start) == np.asarray(there.start)).all(axis=-1).sum())
            row = {
                "workload": workload,
                "rule": rule,
                "discipline": discipline,
                "admission": admission,
                "capped": capped,
            }
            yield row | {"instances": len(priority), "equal": num_equal}
    yield check_flags(*cases["random", "random", False])


def check_flags(inst, priority):
    """Count instances that the kernel, with few slots, flags exactly if more run at once."""
    form = Form(priority.shape[-1], 32, 1, "look_ahead")
    sched = on_host(js.simulate)(inst, priority)
    begin, end = (np.asarray(rounds)[:, None] for rounds in (sched.start, sched.completion))
    starts = np.asarray(sched.start)[..., None]
    most_running = ((begin <= starts) & (end > starts)).sum(axis=-1).max(axis=-1)
    _, flagged = kernel(form, 1)(queues(inst, priority))
    right = np.asarray(flagged) == (most_running > form.num_slots)
    row = {"workload": "random", "rule": "flags of 32 slots", "discipline": "strict"}
    row |= {"admission": "look_ahead", "capped": False}
    return row | {"instances": len(right), "equal": int(right.sum())}


def queues(inst, priority):
    """Hand requests to the kernel in order, on the device."""
    order = np.argsort(priority, axis=-1, kind="stable")

    def in_order(tokens):
        return np.take_along_axis(np.where(inst.is_real, tokens, 0), order, axis=-1).T

    prompt, output = in_order(inst.prompt_tokens), in_order(inst.output_tokens)
    return jax.device_put(Queues(prompt, output, inst.kv_capacity, None), DEVICE)


@functools.cache
def kernel(form, num_warps):
    return jax.jit(functools.partial(start_rounds, form, COMPILER, num_warps=num_warps))


def time_kernel(is_small):
    """Time the kernel alone, by slots, blocks, warps and instances."""
    n, most = (40, 32) if is_small else (1000, 65536)
    inst, priorities = backlogs(n, most)
    forms = (
        [(32, 1, 1), (64, 2, 1)]
        if is_small
        else [
            *((slots, blocks, 1) for slots in (128, 256, 512) for blocks in (1, 4)),
            (512, 8, 1),
            (128, 1, 2),
            (512, 4, 2),
            (512, 4, 4),
        ]
    )
    given = {rule: queues(inst, priorities[rule]) for rule in RULES}
    sizes = {most} if is_small else {1, 64, 1024, 4096, most}
    for slots, blocks, warps in forms:
        form = Form(n, slots, blocks, "look_ahead")
        run = kernel(form, warps)
        for batch in sorted(sizes if (slots, blocks, warps) == (512, 4, 1) else {most}):
            for rule in RULES if batch == most else RULES[-1:]:
                few = jax.tree.map(lambda leaf, batch=batch: leaf[..., :batch], given[rule])
                took = seconds(lambda run=run, few=few: run(few))
                flagged = int(np.asarray(run(few)[1]).sum())
                yield {
                    "rule": rule,
                    "slots": slots,
                    "blocks": blocks,
                    "warps": warps,
                    "instances": batch,
                    "seconds": took,
                    "instances_per_s": batch / took,
                    "overflows": flagged,
                }


def row(what, case, instances, device_s, host_s, host_instances):
    """One whole call; where the host was given fewer instances, times are a instance's."""
    here, there = instances / device_s, host_instances / host_s
    return {
        "what": what,
        "case": case,
        "instances": instances,
        "seconds": device_s,
        "instances_per_s": here,
        "host_instances": host_instances,
        "host_instances_per_s": there,
        "times_the_host": here / there,
    }


def time_calls(is_small):
    """Time whole calls, beside the host's CPU."""
    n, batch, few = (40, 32, 32) if is_small else (1000, 65536, 256)
    inst, priorities = backlogs(n, batch)
    little = jax.tree.map(lambda leaf: leaf[:few], inst)
    there = jax.device_put(inst, DEVICE)
    for rule in RULES:
        priority, own = priorities[rule], jax.device_put(priorities[rule], DEVICE)
        host_s = seconds(functools.partial(on_host(js.simulate), little, priority[:few]))
        for case, given in (("arrays on the device", (there, own)), ("numpy", (inst, priority))):
            took = seconds(functools.partial(js.simulate, *given), 3)
            yield row(f"simulate, {rule}", case, batch, took, host_s, few)

    sched = js.simulate(there, jax.device_put(priorities["smallest_volume"], DEVICE))
    sched_host = on_host(js.simulate)(little, priorities["smallest_volume"][:few])
    host_s = seconds(lambda: on_host(js.metrics.summary)(little, sched_host))
    took = seconds(lambda: js.metrics.summary(there, sched), 3)
    yield row("metrics.summary", "arrays on the device", batch, took, host_s, few)

    size, steps = (4, 20) if is_small else (64, 100)
    some = jax.tree.map(lambda leaf: leaf[:size], inst)
    price = functools.partial(js.bounds.price, num_steps=steps, progress=False)
    yield both("bounds.price", f"{steps} steps", size, price, some)

    chains = 8 if is_small else 1024
    one = jax.tree.map(lambda leaf: leaf[:1], inst)
    improve = functools.partial(
        js.improve,
        start="smallest_volume",
        key=jax.random.key(SEED),
        num_steps=256,
        num_chains=chains,
        progress=False,
    )
    yield both("improve", f"256 steps of {chains} chains", 1, improve, one)

    tuned = jax.tree.map(lambda leaf: leaf[: 8 if is_small else 64], inst)
    estimator = js.tuning.ScoreNoise(noise=jnp.float32(0.1), pairs=16)
    rule = js.policies.linear_score()

    def step(inst):
        return estimator(rule, inst, jax.random.key(SEED))

    yield both("a tuning step", "32 samples", tuned.is_real.shape[0], step, tuned)
    yield from time_serve(is_small)


def both(what, case, instances, call, inst):
    """Time a call on the device, with arrays there, and on the host."""
    there = jax.device_put(inst, DEVICE)
    took = seconds(lambda: call(there), 3)
    host_s = seconds(lambda: on_host(call)(inst), 3)
    return row(what, case, instances, took, host_s, instances)


def time_serve(is_small):
    """Time streams of requests on an online server."""
    n, batch, few = (40, 16, 16) if is_small else (1000, 4096, 256)
    rng = np.random.default_rng(SEED)
    inst, _ = backlogs(n, batch)
    arrival_s = np.cumsum(rng.exponential(1 / 10, (batch, n)), axis=-1)
    lengths = inst.prompt_tokens, inst.output_tokens
    with jax.default_device(HOST):
        reqs = jax.tree.map(np.asarray, js.Requests.from_arrays(arrival_s, *lengths))
    server = js.servers.get("llama3.1_8b_h100")
    little = jax.tree.map(lambda leaf: leaf[:few], reqs)
    with jax.enable_x64(True):
        there = jax.device_put(reqs, DEVICE)
    took = seconds(lambda: js.serve(there, server).completion, 3)
    host_s = seconds(lambda: on_host(js.serve)(little, server).completion, 3)
    yield row("serve, fcfs", "arrays on the device", batch, took, host_s, few)


def show(title, rows):
    """Print rows as a table."""
    table = Table(*rows[0], title=title, title_justify="left")
    for each in rows:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in each.values()))
    Console(width=150).print(table)


def main(is_smoke):
    is_small = is_smoke or IS_CPU
    print(f"device: {DEVICE.device_kind}; host: the CPU; jax {jax.__version__}")
    if IS_CPU:
        print("No accelerator here: the CPU plays both parts, and the kernel is interpreted.")
    exactness = list(check_exactness(is_small))
    show("Equal to the host", exactness)
    alone = list(time_kernel(is_small)) if COMPILER != "interpreter" or is_small else []
    if alone:
        show("The kernel alone", alone)
    calls = list(time_calls(is_small))
    show("Whole calls", calls)
    if not is_small:
        for rule, estimate in ESTIMATES.items():
            best = max(each["instances_per_s"] for each in alone if each["rule"] == rule)
            print(f"{rule}: {best:.3g} instances a second; the estimate is {estimate:.2g}")
    parts = {"exactness": exactness, "kernel": alone}
    _common.write_results("accelerator", calls, SEED, parts, is_small=is_small)
    if any(each["equal"] < each["instances"] for each in exactness):
        raise SystemExit("the device and the host differ: see the first table")


if __name__ == "__main__":
    main(_common.parser(__doc__).parse_args().smoke)
