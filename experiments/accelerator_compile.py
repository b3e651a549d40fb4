"""What do simulations become that are compiled for a GPU? Asked on a machine without one.

Whole programs are compiled for an H100: what the host has left to do in a call, and the registers
and spills of the kernels. Their PTX then runs in an interpreter, and its starts must be those of
``js.simulate``. Nothing is timed, and nothing runs on a GPU.
"""

import itertools
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
from jaxsched.engine.offline.gpu.dispatch import earliest_fit_form_of, form_of
from jaxsched.engine.offline.gpu.segments import shape_of
from jaxsched.engine.offline.programs import from_priority

SEED = 0
NUM_INSTANCES = 64  # of a compiled program: the size of its grid, and nothing else
SIZES = 40, 100, 200, 1000
NUM_INTERPRETED = {"strict": 50, "earliest_fit": 5}  # which takes ten times as long
FORMS = {"strict": form_of, "earliest_fit": earliest_fit_form_of}
MOST_REGISTERS = {64: 48, 128: 64, 256: 80, 512: 128}  # a thread, by slots of strict order
MOST_REGISTERS_OF_EARLIEST_FIT = 64


def compiled(n, discipline, admission, is_capped):
    """Compile simulations of ``n`` requests from priorities to schedules."""

    def like(dtype, *shape):
        return jax.ShapeDtypeStruct((NUM_INSTANCES, *shape), dtype)

    inst = js.Instance(
        prompt_tokens=like(jnp.int32, n),
        output_tokens=like(jnp.int32, n),
        is_real=like(jnp.bool_, n),
        kv_capacity=like(jnp.int32),
    )
    shapes = inst, like(jnp.float32, n), like(jnp.int32) if is_capped else None
    return _gpu_compile.compiled(from_priority, shapes, discipline, admission)


def checked(program, discipline, form):
    """Describe a compiled simulation; strict order may need a second form, by one branch."""
    is_strict = discipline == "strict"
    most = {
        "registers": MOST_REGISTERS[form.num_slots]
        if is_strict
        else MOST_REGISTERS_OF_EARLIEST_FIT,
        "host_branches": int(is_strict and form.num_requests > form.num_slots),
    }
    found = _gpu_compile.checked(program, discipline, most)
    return {"slots": form.num_slots, "blocks": form.num_blocks} | found


def random_instances(rng, num_instances, n):
    """Short requests with ties, on capacities of all sizes."""
    capacity = np.exp(rng.uniform(np.log(2), np.log(20 * n), num_instances)).astype(int)
    prompt = np.minimum(rng.integers(1, 20, (num_instances, n)), capacity[:, None] - 1)
    output = np.minimum(rng.integers(1, 20, (num_instances, n)), capacity[:, None] - prompt)
    sizes = rng.integers(1, n + 1, num_instances)
    parts = zip(prompt, output, capacity, sizes, strict=True)
    whole = js.Instance.from_lengths([1] * n, [1] * n, kv_capacity=2)  # fixes the shape
    many = [js.Instance.from_lengths(s[:k], o[:k], kv_capacity=int(m)) for s, o, m, k in parts]
    inst = jax.tree.map(lambda leaf: np.asarray(leaf)[:-1], js.stack([*many, whole]))
    return inst, rng.integers(0, n, (num_instances, n))


def interpreted(program, discipline, form, inst, priority, max_num_seqs):
    """Run the kernel's PTX on every instance; equal ones, and instructions a request."""
    order = np.argsort(priority, axis=-1, kind="stable")

    def in_order(values):
        return np.take_along_axis(np.where(inst.is_real, values, 0), order, axis=-1)

    arrays = [in_order(inst.prompt_tokens), in_order(inst.output_tokens)]
    arrays += [np.asarray(inst.kv_capacity), *([] if max_num_seqs is None else [max_num_seqs])]
    arrays = [np.array(array, np.int32, order="C") for array in arrays]
    start, overflows = np.full_like(arrays[0], -1), np.full_like(arrays[2], -1)
    segments = np.full((len(order), *shape_of(form)), -1, np.int32)
    arrays += [start, overflows if discipline == "strict" else segments]
    executed = [_ptx.run(program, block, arrays) for block in range(len(order))]

    options = {"discipline": discipline, "admission": form.admission, "max_num_seqs": max_num_seqs}
    sched = js.simulate(inst, priority, **options)
    is_right = (in_order(sched.start) == np.where(in_order(inst.is_real), start, 0)).all(axis=-1)
    is_over = np.zeros(len(order), bool)
    if discipline == "strict":
        is_over = most_running(inst, sched) > form.num_slots
        is_right = np.where(is_over, overflows == 1, is_right & (overflows == 0))
    return {
        "instances": len(order),
        "overflows": int(is_over.sum()),
        "right": int(is_right.sum()),
        "instructions_a_request": sum(executed) / order.size,
    }


def most_running(inst, sched):
    """Count the most requests that run in one round, for each instance."""

    def of_one(is_real, start, completion):
        rounds = np.concatenate([completion[is_real], start[is_real]])  # who ends goes first
        changes = np.repeat([-1, 1], is_real.sum())
        return np.max(np.cumsum(changes[np.argsort(rounds, kind="stable")]))

    parts = inst.is_real, np.asarray(sched.start), np.asarray(sched.completion)
    return np.array([of_one(*each) for each in zip(*parts, strict=True)])


def backlogs(n, discipline, num_instances):
    """Name, instances and priorities: random ones, or long ones and some that overflow.

    Of earliest fit there are no long ones, for which the interpreter would take too long.
    """
    rng = np.random.default_rng(SEED)
    if n < 1000:
        yield "random", *random_instances(rng, num_instances, n)
        return
    if discipline == "earliest_fit":
        return
    inst = js.workloads.mixed(jax.random.key(SEED), num_requests=n, batch=2)
    inst = jax.tree.map(np.asarray, inst)
    for rule in ("fcfs", "shortest_output", "smallest_volume"):
        yield rule, inst, np.asarray(js.prioritize(inst, rule))
    ones = np.ones((2, n), int)
    at_once = js.Instance.from_lengths(ones, ones, kv_capacity=[n, 4 * n])  # n / 2 fit, or all
    yield "all at once", jax.tree.map(np.asarray, at_once), ones


def main(is_smoke):
    if sentence := _gpu_compile.missing():
        if not is_smoke:
            sys.exit(sentence)
        print(f"Nothing was compiled for a GPU: {sentence}")
        return
    rows, runs, rng = [], [], np.random.default_rng(SEED)
    sizes = SIZES[:1] if is_smoke else SIZES
    cases = itertools.product(FORMS, sizes, ("look_ahead", "peak"), (False, True))
    for discipline, n, admission, is_capped in cases:
        case = {
            "discipline": discipline,
            "requests": n,
            "admission": admission,
            "is_capped": is_capped,
        }
        program = compiled(n, discipline, admission, is_capped)
        form = FORMS[discipline](n, admission)
        rows.append(case | checked(program, discipline, form))
        print(rows[-1])
        if discipline not in program.ptx:
            continue
        kernel = _ptx.parsed(program.ptx[discipline])
        num_instances = 5 if is_smoke else NUM_INTERPRETED[discipline]
        for name, inst, priority in backlogs(n, discipline, num_instances):
            cap = rng.integers(1, n, len(priority), np.int32) if is_capped else None
            found = interpreted(kernel, discipline, form, inst, priority, cap)
            runs.append(case | {"backlogs": name} | found)
            print(runs[-1])
            if found["right"] < found["instances"]:
                sys.exit("the compiled kernel and js.simulate differ")
    if not runs:
        print("No PTX was interpreted and no registers counted: this version of XLA writes no PTX.")
    tools = {name: version(name) for name in ("jax-cuda13-plugin", "nvidia-cuda-nvcc")}
    parts = {"interpreted": runs} if runs else {}
    _common.write_results("accelerator_compile", rows, SEED, parts, target="H100", tools=tools)


if __name__ == "__main__":
    main(_common.parser(__doc__).parse_args().smoke)
