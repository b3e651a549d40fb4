"""When kernels place requests, and with how much room for those that are placed."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.contract import Admission, Placement, Queues
from jaxsched.engine.gpu.operation import Compiler, operation
from jaxsched.engine.offline import earliest_fit, strict
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.kernels import wide

# A warp has a slot a lane at least. 512 slots take nearly 128 registers a thread, of which a core
# has enough for 16 warps; twice as many would halve that. Blocks of 128, four registers a vector,
# are worth a branch.
_LEAST_SLOTS, _MOST_SLOTS, _BLOCK_SIZE = 32, 512, 128


def one_program_an_instance(
    placement: Placement, admission: Admission, queues: Queues
) -> jax.Array:
    """Place by the kernel where there is one, on an NVIDIA GPU; else all in step."""
    place = _start_rounds if placement is strict else _earliest_fit_start_rounds
    return place(admission, queues)


def form_of(n: int, admission: Admission, most_slots: int = _MOST_SLOTS) -> Form:
    """Choose slots and blocks of strict order for instances of ``n`` requests."""
    num_slots = min(max(_LEAST_SLOTS, 1 << (n - 1).bit_length()), most_slots)
    return Form(n, num_slots, max(1, num_slots // _BLOCK_SIZE), admission)


def earliest_fit_form_of(n: int, admission: Admission, block_size: int = _BLOCK_SIZE) -> Form:
    """Choose segments and blocks of earliest fit: a request adds two segments at most."""
    num_blocks = -(-2 * n // block_size)
    return Form(n, num_blocks * block_size, num_blocks, admission)


def exact_start_rounds(
    compiler: Compiler, admission: Admission, queues: Queues, *, most_slots: int = _MOST_SLOTS
) -> jax.Array:
    """Place in strict order, and anew in the wide form what the slots did not suffice for.

    The wide form is as slow for one instance as for many, so it runs only if there is one; and it
    takes as many turns as the slowest instance needs, so it is given none of the others' requests.

    Args:
      compiler: see :func:`jaxsched.engine.offline.gpu.kernel.start_rounds`.
      admission: what a request counts as holding.
      queues: the requests.
      most_slots: a power of two. Fewer are used where an instance has fewer requests, and then
        they always suffice.

    Returns:
      Start rounds int32 ``[n, B]`` in serving order; meaningless for padding.
    """
    from jaxsched.engine.offline.gpu import kernel

    form = form_of(queues.prompt.shape[0], admission, most_slots)
    start, overflows = kernel.start_rounds(form, compiler, queues)
    if form.num_requests <= form.num_slots:
        return start

    def again() -> jax.Array:
        is_flagged = jnp.broadcast_to(overflows[None], start.shape)
        prompt, output = (jnp.where(is_flagged, of, 0) for of in (queues.prompt, queues.output))
        flagged = queues._replace(prompt=prompt, output=output)
        return jnp.where(is_flagged, wide(strict, admission, flagged), start)

    return lax.cond(jnp.any(overflows), again, lambda: start)


def _earliest_fit(compiler: Compiler, admission: Admission, queues: Queues) -> jax.Array:
    if compiler == "mosaic_gpu":  # of which the kernel asks too much
        return wide(earliest_fit, admission, queues)

    from jaxsched.engine.offline.gpu import kernel

    form = earliest_fit_form_of(queues.prompt.shape[0], admission)
    return kernel.earliest_fit_start_rounds(form, compiler, queues)


def _like_prompts(admission: Admission, queues: Queues) -> Any:
    del admission
    return queues.prompt


_start_rounds = operation(
    "strict_start_rounds", functools.partial(wide, strict), exact_start_rounds, _like_prompts
)
_earliest_fit_start_rounds = operation(
    "earliest_fit_start_rounds",
    functools.partial(wide, earliest_fit),
    _earliest_fit,
    _like_prompts,
)
