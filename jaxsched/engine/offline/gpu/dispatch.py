"""When the kernel places requests, and with how many slots."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxsched.engine.contract import Admission, Placement, Queues
from jaxsched.engine.gpu.operation import Compiler, operation
from jaxsched.engine.offline import strict
from jaxsched.engine.offline.gpu.body import Form
from jaxsched.engine.offline.kernels import wide

# A warp has a slot a lane at least. 512 slots take nearly 128 registers a thread, of which a core
# has enough for 16 warps; twice as many would halve that. Blocks of 128, four registers a vector,
# are worth a branch.
_LEAST_SLOTS, _MOST_SLOTS, _BLOCK_SIZE = 32, 512, 128


def one_program_an_instance(
    placement: Placement, admission: Admission, queues: Queues
) -> jax.Array:
    """Place by the kernel where there is one: strict order on an NVIDIA GPU; else all in step."""
    if placement is not strict:
        return wide(placement, admission, queues)
    return _start_rounds(admission, queues)


def form_of(n: int, admission: Admission, most_slots: int = _MOST_SLOTS) -> Form:
    """Choose slots and blocks for instances of ``n`` requests."""
    num_slots = min(max(_LEAST_SLOTS, 1 << (n - 1).bit_length()), most_slots)
    return Form(n, num_slots, max(1, num_slots // _BLOCK_SIZE), admission)


def exact_start_rounds(
    compiler: Compiler, admission: Admission, queues: Queues, *, most_slots: int = _MOST_SLOTS
) -> jax.Array:
    """Place by the kernel, and all anew in the wide form where its slots did not suffice.

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
    is_over = jnp.any(overflows)
    return lax.cond(is_over, lambda: _in_step(admission, queues), lambda: start)


def _in_step(admission: Admission, queues: Queues) -> jax.Array:
    return wide(strict, admission, queues)


def _like_prompts(admission: Admission, queues: Queues) -> Any:
    del admission
    return queues.prompt


_start_rounds = operation("strict_start_rounds", _in_step, exact_start_rounds, _like_prompts)
