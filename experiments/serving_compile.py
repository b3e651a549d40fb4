"""What does the service of streams become that is compiled for a GPU? Asked where there is none.

Whole programs are compiled for an H100: what the host has left to do in a call, and the registers
and spills of the kernel. Its PTX then runs in an interpreter, and what becomes of the streams must
be what ``js.serve`` says. Nothing is timed, and nothing runs on a GPU.
"""

import os
import sys
from importlib.metadata import version

os.environ["JAX_PLATFORMS"] = "cpu"  # or jax would look for the GPU that is not there

import _common
import _gpu_compile
import _ptx
import jax
import jax.numpy as jnp
import numpy as np

import jaxsched as js
from jaxsched.engine.online.arrivals import Arrivals, checked
from jaxsched.engine.online.gpu.body import Scratch
from jaxsched.engine.online.gpu.dispatch import slots_for
from jaxsched.engine.online.gpu.kernel import laid_out
from jaxsched.engine.online.program import serve_streams
from jaxsched.engine.online.serve import given_to_kernel
from jaxsched.engine.online.state import Choices, Limits, no_totals
from jaxsched.engine.online.sums import Cost
from jaxsched.model.itl import ITL_EDGES_S

SEED = 0
# Powers of two in seconds, so that no sum rounds and times must be equal to the last bit.
CLOCK = js.clock.LinearClock(*(1000 / 2.0**k for k in (6, 10, 11, 16, 20)))
NUM_STREAMS = 50  # of each policy
CASES = (8, 256), (100, 256), (1000, 256), (1000, 512)  # requests, and seats of the server
RUN = 8  # requests of the streams that are run
RECORDED = "first_scheduled", "first_token", "completion", "max_itl"
MOST_REGISTERS = {64: 160, 128: 168, 256: 176, 512: 255}  # a thread, by slots


def compiled(num_streams, n, choices):
    """Compile the service of ``num_streams`` streams of ``n`` requests."""

    def like(dtype, *shape):
        return jax.ShapeDtypeStruct((num_streams, *shape), dtype)

    with jax.enable_x64(True):
        tokens, number, seconds = like(jnp.int32, n), like(jnp.int32), like(jnp.float64)
        arrivals = Arrivals(like(jnp.float64, n), tokens, tokens, tokens, like(jnp.float32, n))
        kinds = {"is_chunked": like(jnp.bool_), "is_adaptive": like(jnp.bool_)}
        kinds |= {"max_steps": like(jnp.int64), "cost": Cost(*[seconds] * len(Cost._fields))}
        limits = Limits(**{name: kinds.get(name, number) for name in Limits._fields})
        program = jax.jit(lambda *given: serve_streams(*given, choices))
        return _gpu_compile.compiled(program, (arrivals, limits))


def busy_streams(rng, num_streams, n, policy):
    """Make requests, and servers of all sizes that must evict some of them."""
    reqs = js.Requests.from_arrays(
        np.sort(rng.integers(0, n, (num_streams, n)) / 32, axis=-1),
        rng.integers(1, 40, (num_streams, n)),
        rng.integers(1, 12, (num_streams, n)),
        priority=rng.integers(0, 3, (num_streams, n)),
    )
    server = js.servers.get("llama3.1_8b_h100").replace(
        kv_capacity=rng.integers(50, 120, num_streams),
        block_size=rng.choice([1, 4, 16], num_streams),
        max_num_seqs=rng.integers(2, n, num_streams),
        max_num_batched_tokens=rng.integers(n, 100, num_streams),
        watermark=rng.choice([0.0, 0.1], num_streams),
        enable_chunked_prefill=rng.random(num_streams) < 0.7,
        clock=CLOCK,
        policy=policy,
    )
    return reqs, server


def interpreted(ptx, reqs, server):
    """Run the kernel's PTX on every stream; what is right, and instructions a step."""
    priority = reqs.priority if server.policy == "priority" else None
    arrivals, limits, choices = given_to_kernel(server, reqs, priority, None)
    num_streams, n = reqs.is_real.shape
    of_seats = np.zeros((num_streams, slots_for(n, choices) + 1), np.int32)
    with jax.enable_x64(True):
        arrivals, limits = jax.tree.map(jnp.asarray, (arrivals, limits))
        until = jnp.full(num_streams, jnp.inf)
        reads, kept = laid_out(choices, checked(arrivals, limits), limits, until)
        outputs = kept, Scratch(*[of_seats] * 3), no_totals(until, None)
        given, outputs = jax.tree.map(lambda leaf: np.array(leaf, order="C"), (reads, outputs))
    kept = jax.tree.leaves(outputs[0])
    arrays = [*jax.tree.leaves(given), ITL_EDGES_S.copy(), *kept, *jax.tree.leaves(outputs)]
    program = _ptx.parsed(ptx)
    executed = sum(
        _ptx.run(program, block, arrays, may_replace=True) for block in range(num_streams)
    )

    out = js.serve(reqs, server)
    (_, _, records, histogram), _, totals = outputs
    records = jax.tree.map(lambda rows: rows[:, :n], records)
    pairs = [
        *((getattr(records, name), getattr(out, name)) for name in RECORDED),
        (records.preemptions, out.num_preemptions),
        (histogram, out.itl_histogram),
        (totals.steps, out.num_steps),
        (totals.recomputed, out.recomputed_tokens),
        (totals.peak, out.peak_kv_tokens),
        (totals.busy, out.busy),
        (totals.token_seconds, out.kv_token_time),
    ]
    is_equal = [
        np.equal(mine, theirs) | (np.isnan(mine) & np.isnan(theirs)) for mine, theirs in pairs
    ]
    is_right = np.all([each.reshape(num_streams, -1).all(axis=-1) for each in is_equal], axis=0)
    return {
        "streams": num_streams,
        "evictions": int(np.sum(out.num_preemptions)),
        "refused": int(np.sum(out.status == js.Status.REFUSED)),
        "right": int(is_right.sum()),
        "instructions_a_step": executed / int(np.sum(out.num_steps)),
    }


def main(is_smoke):
    if sentence := _gpu_compile.missing():
        if not is_smoke:
            sys.exit(sentence)
        print(f"Nothing was compiled for a GPU: {sentence}")
        return
    rows, runs, num_streams = [], [], 2 if is_smoke else NUM_STREAMS
    for n, seats in CASES[:1] if is_smoke else CASES:
        for policy in ("fcfs", "priority"):
            choices = Choices(seats, policy=policy)
            slots = slots_for(n, choices)
            program = compiled(num_streams, n, choices)
            case = {"requests": n, "policy": policy, "slots": slots}
            most = {"registers": MOST_REGISTERS[slots]}
            rows.append(case | _gpu_compile.checked(program, "serve", most))
            print(rows[-1])
            if n != RUN or "serve" not in program.ptx:
                continue
            streams = busy_streams(np.random.default_rng(SEED), num_streams, n, policy)
            runs.append(case | interpreted(program.ptx["serve"], *streams))
            print(runs[-1])
            if runs[-1]["right"] < num_streams:
                sys.exit("the compiled kernel and js.serve differ")
    if not runs:
        print("No PTX was interpreted and no registers counted: this version of XLA writes no PTX.")
    tools = {name: version(name) for name in ("jax-cuda13-plugin", "nvidia-cuda-nvcc")}
    parts = {"interpreted": runs} if runs else {}
    _common.write_results("serving_compile", rows, SEED, parts, target="H100", tools=tools)


if __name__ == "__main__":
    main(_common.parser(__doc__).parse_args().smoke)
