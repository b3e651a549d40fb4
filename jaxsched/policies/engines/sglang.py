"""Rules for SGLang."""

from __future__ import annotations

import os

from jaxsched.engine.contract import Rule
from jaxsched.policies.engines.priority_file import write_priority_file

_INSTRUCTIONS = """\
Start the server with

    python -m sglang.launch_server --model-path MODEL --enable-priority-scheduling \
--disable-priority-preemption

and send the number as the field "priority" of each request. Leave the order of the queue at its
default, --schedule-policy fcfs, and --schedule-low-priority-values-first out: SGLang then serves
the highest first. Without --disable-priority-preemption it would also interrupt running requests
for new ones whose priority is higher by more than 10. Where that option is not known, take
--priority-scheduling-preemption-threshold 9223372036854775807.
"""


def sglang_priority(
    rule: Rule | str, path: str | os.PathLike[str], *, kv_capacity: int | None = None
) -> None:
    """Write a rule as a Python file that computes the ``priority`` of a request for SGLang.

    The file is as :func:`vllm_priority` writes it, with numbers of the other sign: SGLang serves
    the highest first. Its docstring says how to start the server, without preemption.

    Args:
      rule: a static rule of each request alone, or the name of one.
      path: the file, such as ``priority.py``.
      kv_capacity: tokens of the server's cache, for rules that use it.

    Raises:
      ValueError: the rule is dynamic, looks across requests, or uses what is not written out in
        plain Python; or it needs the capacity.

    Example:
      >>> import pathlib, tempfile
      >>> import jaxsched as js
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder) / "priority.py"
      ...     js.export.sglang_priority("smallest_volume", path)
      ...     names = {}
      ...     exec(path.read_text(), names)
      >>> names["priority"](prompt_tokens=300, predicted_output_tokens=40)
      -12820

    Source:
      SGLang, ``server_args.py`` and ``managers/schedule_policy.py``, 2026: options, their
      defaults, and the order by (-priority, time of entry).
    """
    write_priority_file(
        rule,
        path,
        kv_capacity,
        engine="SGLang",
        instructions=_INSTRUCTIONS,
        lower_first=False,
    )
