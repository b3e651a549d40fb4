"""The independent judge of what a server did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxsched._lib.arrays import refuse_traced
from jaxsched._lib.errors import InputError, wrong_shape
from jaxsched.model.outcome import Outcome
from jaxsched.model.requests import Requests
from jaxsched.model.server import Server, require_numbers
from jaxsched.model.service import outcome_rules, request_rules, step_rules
from jaxsched.model.service.log import ServiceLog
from jaxsched.model.service.replay import FINISH, events_of, totals_of
from jaxsched.model.service.violations import Violation, earliest


class ServiceVerdict(NamedTuple):
    """What :func:`verify_service` says of a run.

    Attributes:
      is_valid: whether all rules are kept.
      violation: the first thing that is wrong, as a sentence; empty if nothing is.
      step: the step it is wrong in, counted from 0; -1 if it is in none.
      request: the request it is wrong with; -1 if it is with none.
    """

    is_valid: bool
    violation: str = ""
    step: int = -1
    request: int = -1


def verify_service(
    reqs: Requests, server: Server, out: Outcome, log: Mapping[str, Any]
) -> ServiceVerdict:
    """Check a recorded run by counting its grants anew (no engine involved).

    - Requests arrive, are admitted, perhaps evicted and admitted again, and finish for good.
    - Every token is computed once, and once more after each eviction that loses it; every output
      token is sampled once, up to the request's output or ``max_model_len``.
    - No step computes more than ``max_num_batched_tokens``, runs more requests than
      ``max_num_seqs``, or holds more blocks than the cache has. Blocks are those of the tokens
      computed, and free once a request finishes or is evicted.
    - Steps follow each other, wait only if nothing is left to do, and take the time that the
      clock gives their work.
    - The outcome says of each request, and of the run, what the log says. Requests are refused
      if and only if they could never finish alone.

    In which order requests are served is not checked: any order may be right.

    Args:
      reqs: the requests of one stream, ``[n]``.
      server: what served them.
      out: the outcome.
      log: columns by name, which ``jaxsched.model.service.log.ServiceLog`` explains.

    Returns:
      A :class:`ServiceVerdict`.

    Raises:
      ValueError: there are several streams or servers, the outcome is of other requests, or the
        log lacks a column.

    Example:
      >>> import numpy as np
      >>> import jaxsched as js
      >>> reqs = js.Requests.from_arrays([0.0], [20], [2])
      >>> out = js.Outcome(
      ...     arrival=np.array([0.0]), first_scheduled=np.array([0.0]),
      ...     first_token=np.array([1.0]), completion=np.array([2.0]),
      ...     num_preemptions=np.array([0]), status=np.array([0]), is_real=np.array([True]))
      >>> log = dict(
      ...     step_clock=[0.0, 1.0], step_end=[1.0, 2.0], step_arrived=[1, 0], step_P=[20, 0],
      ...     step_B=[0, 1], step_KV=[0, 20], step_free_mid=[2, 2], step_free_end=[2, 4],
      ...     step_running=[1, 1], step_waiting=[0, 0], step_entries=[1, 1], ent_req=[0, 0],
      ...     ent_tok=[20, 1], ent_sampled=[True, True], pre_step=[], pre_req=[], adm_step=[0],
      ...     adm_req=[0], adm_resumed=[False], fin_step=[1], fin_req=[0])
      >>> js.verify_service(reqs, js.Server(kv_capacity=64), out, log).is_valid
      True
      >>> js.verify_service(reqs, js.Server(kv_capacity=64, block_size=4), out, log).violation
      'step 0 has step_free_mid 2; its events come to 11'
    """
    refuse_traced("verify_service looks at values", "call it outside", (reqs, out, server, log))
    reqs, out, server = (jax.tree.map(np.asarray, each) for each in (reqs, out, server))
    _require_one_stream(reqs, require_numbers(server), out)
    record = ServiceLog.from_columns(log)
    wrong = earliest(_range_violations(record, reqs.is_real.size))
    if wrong is None:
        wrong = _first_violation(reqs, server, out, record)
    if wrong is None:
        return ServiceVerdict(is_valid=True)
    return ServiceVerdict(False, wrong.sentence, wrong.step, wrong.request)


def _first_violation(
    reqs: Requests, server: Server, out: Outcome, log: ServiceLog
) -> Violation | None:
    """Judge the log, then, if nothing is wrong with it, the outcome."""
    block_size, preemption = int(server.block_size), server.preemption
    prompt = reqs.prompt_tokens.astype(np.int64)
    output = np.minimum(reqs.output_tokens, server.max_model_len - prompt)
    is_refused = _can_never_finish(prompt, output, server)
    arrival = reqs.arrival_s[reqs.is_real & ~is_refused]

    events = events_of(log, prompt, block_size, preemption)
    totals = totals_of(events, log.step_clock, arrival, block_size, preemption)
    wrong = earliest(
        (
            *request_rules.place_violations(events, log.step_clock, reqs.arrival_s),
            *request_rules.token_violations(events, output),
            *step_rules.limit_violations(totals, server),
            *step_rules.count_violations(log, totals, server),
            *step_rules.time_violations(log, totals, server, arrival),
        )
    )
    if wrong is not None:
        return wrong
    is_finished = np.isin(np.arange(prompt.size), events.request[events.kind == FINISH])
    return earliest(
        (
            *outcome_rules.status_violations(out, reqs.is_real, is_refused, is_finished),
            *outcome_rules.time_violations(out, reqs.is_real, log, events, preemption),
            *outcome_rules.run_violations(out, log, events, totals, preemption),
        )
    )


def _can_never_finish(prompt: np.ndarray, output: np.ndarray, server: Server) -> np.ndarray:
    """Whether a request does not fit even alone; its last token is never computed."""
    most = prompt + output - 1
    usable = server.kv_capacity // server.block_size
    is_too_long = ~server.enable_chunked_prefill & (most > server.max_num_batched_tokens)
    return (output < 1) | (-(-most // server.block_size) > usable) | is_too_long


def _range_violations(log: ServiceLog, n: int) -> Iterator[Violation]:
    """Judge whether grants, steps and requests that the log names are there."""
    if log.step_entries.sum() != log.ent_req.size or (log.step_entries < 0).any():
        say = (
            f"step_entries counts {log.step_entries.sum():,} grants; there are {log.ent_req.size:,}"
        )
        yield Violation(-1, -1, say)
    for name in log._fields:
        if name.endswith(("_req", "_step")):
            number, most = getattr(log, name), n if name.endswith("_req") else log.num_steps
            for at in np.flatnonzero((number < 0) | (number >= most))[:1]:
                yield Violation(-1, -1, f"{name}[{at}] is {number[at]}; expected 0 to {most - 1}")


def _require_one_stream(reqs: Requests, server: Server, out: Outcome) -> None:
    for argument, array in (("reqs", reqs.is_real), ("out", out.is_real)):
        if array.ndim != 1:
            raise wrong_shape(argument, array.shape, "expected one stream [n], such as reqs[0]")
    for number in jax.tree.leaves(server):
        if np.ndim(number):
            raise wrong_shape("server", np.shape(number), "expected one server")
    if out.time_unit != "s" or out.is_real.size != reqs.is_real.size:
        raise InputError(
            "out", out, f"expected {reqs.is_real.size} requests, in seconds", finding=f"is {out!r}"
        )
