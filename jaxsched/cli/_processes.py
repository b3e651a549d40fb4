"""Which of several processes this one is."""

from __future__ import annotations

import os
import sys
import threading

from jaxsched.cli._report import report

BAD_INPUT = 2
_LATER_S = 30  # until jax, which then ends the process with pages of its own, gives up too


def join(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    timeout_s: int,
) -> None:
    """Learn which process this is, and then part, so that none falls with another.

    Says what it waits for. Where the others do not come it ends this process, whose main thread
    waits inside jax, where no exception reaches it.

    Args:
      coordinator: ``host:port`` of process 0; None where SLURM or Open MPI say it, as for the
        others.
      num_processes: how many there are.
      process_id: which of them this one is, from 0.
      timeout_s: seconds to wait.
    """
    import jax

    _require_places(coordinator, num_processes, process_id, timeout_s)
    where = coordinator or "the coordinator"
    waits_for = f"all {num_processes or ''} processes to meet at {where}".replace("  ", " ")
    print(f"waiting up to {timeout_s} s for {waits_for}", file=sys.stderr, flush=True)
    remedy = (
        f"start all of them, and see that {where} can be reached from here; --timeout-s N waits"
    )
    gave_up = f"waited {timeout_s} s for {waits_for}, in vain; {remedy} longer"
    watch = threading.Timer(timeout_s, _give_up, [gave_up])
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(
            coordinator, num_processes, process_id, initialization_timeout=timeout_s + _LATER_S
        )
        jax.devices()  # which remember their place
        jax.distributed.shutdown()
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{error} Nothing says so here: start it under SLURM or Open MPI, or give "
            "--coordinator, --num-processes and --process-id"
        ) from error
    finally:
        watch.cancel()


def _give_up(message: str) -> None:
    report("error", message)
    os._exit(BAD_INPUT)


def _require_places(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    timeout_s: int,
) -> None:
    if timeout_s < 1:
        raise ValueError(f"--timeout-s is {timeout_s}; expected an integer >= 1")
    if coordinator is not None:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port[:6]) < 2**16:
            raise ValueError(f"--coordinator is {coordinator!r}; expected HOST:PORT")
    if num_processes is not None and num_processes < 1:
        raise ValueError(f"--num-processes is {num_processes}; expected an integer >= 1")
    if process_id is not None and not 0 <= process_id < (num_processes or process_id + 1):
        raise ValueError(f"--process-id is {process_id}; expected an integer from 0, and below N")
