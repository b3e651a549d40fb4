"""The file that computes priorities, without jax."""

from __future__ import annotations

import json
import keyword
import os
from pathlib import Path
from typing import Any

from jaxsched._lib.writing import write_whole
from jaxsched.policies._rule import rule_name
from jaxsched.policies.engines.one_request import Written, written

_TEMPLATE = '''\
"""Priority of a request by the rule {rule!r}, for {engine}.

{instructions}
Send every request with a priority: one without would be out of order. Requests of one priority
go by arrival. Written by jaxsched; the file needs nothing but Python 3.11.

    {loading}

    body["priority"] = priority({example})
"""

{imports}


{functions}def priority(
    prompt_tokens,
    predicted_output_tokens,
    *,
{others}
):
    """Return the priority, an integer: the {first} is served first.

    The rule reads {reads}.

    prompt_tokens: at least 1.
    predicted_output_tokens: a number >= 0, rounded up to whole tokens, at least one.
    arrival_s: seconds since a moment that is the same for all requests. Floats of 32 bits hold
        seven digits, so count from a recent moment.
    request_class: the request's own priority, lower first.
    client: who sent it, numbered from 0.
    ttft_slo_s, tpot_slo_s: seconds that the first token and each later one should take at most.
    weight: above 0, how much the request's latency counts.
    """
{body}


if __name__ == "__main__":
    # A line a request: numbers in the order above. A line a priority comes back.
    names = ("prompt_tokens", "predicted_output_tokens", "arrival_s", "request_class", "client")
    names += ("ttft_slo_s", "tpot_slo_s", "weight")
    for line in sys.stdin:
        if numbers := [float(number) for number in line.replace(",", " ").split()]:
            print(priority(**dict(zip(names, numbers))))
'''
_ASCENDING = """
def _ascending(number):
    if number != number:
        raise ValueError("the rule gives this request no number, but NaN")
    (bits,) = struct.unpack("<i", struct.pack("<f", number))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)
"""
_F32 = """
def _f32(number):
    return ctypes.c_float(number).value
"""
_TOKENS = """
def _tokens(number):
    if number != number:
        raise ValueError("predicted_output_tokens is NaN; expected a number >= 0")
    return math.ceil(max(1, min(number, 2**30)))
"""
#: What a gateway may leave out where the rule does not read it, and a value for the example.
_OTHERS = {
    "arrival_s": ("0.0", "31.5"),
    "request_class": ("0", "0"),
    "client": ("0", "3"),
    "ttft_slo_s": ("math.inf", "0.5"),
    "tpot_slo_s": ("math.inf", "0.05"),
    "weight": ("1.0", "2.0"),
}
_TAKEN = {
    "prompt_tokens": "prompt_tokens = int(prompt_tokens)",
    "output_tokens": "output_tokens = _tokens(predicted_output_tokens)",
    "arrival_s": "arrival_s = _f32(arrival_s)",
    "request_class": "request_class = _f32(request_class)",
    "client": "client = int(client)",
    "ttft_slo_s": "ttft_slo_s = _f32(ttft_slo_s)",
    "tpot_slo_s": "tpot_slo_s = _f32(tpot_slo_s)",
    "weight": "weight = _f32(weight)",
}


def write_priority_file(
    rule: Any,
    path: str | os.PathLike[str],
    kv_capacity: Any,
    *,
    engine: str,
    instructions: str,
    lower_first: bool,
) -> None:
    """Write the file for an engine; see :func:`jaxsched.export.vllm_priority`."""
    number = written(rule, kv_capacity)
    lines = [line for name, line in _TAKEN.items() if name in number.reads]
    result = f"_ascending({number.result})" if number.is_float else f"int({number.result})"
    lines += [*number.lines, f"return {result if lower_first else f'-{result}'}"]
    functions = _functions(number, "\n".join(lines))
    text = "\n".join((functions, *lines))
    modules = [name for name in ("ctypes", "struct") if f"{name}." in text]
    reads = [
        name.replace("output_", "predicted_output_") for name in _TAKEN if name in number.reads
    ]
    example = ["prompt_tokens=812", "predicted_output_tokens=150"]
    example += [f"{name}={value}" for name, (_, value) in _OTHERS.items() if name in reads]
    others = [name if name in reads else f"{name}={usual}" for name, (usual, _) in _OTHERS.items()]
    content = _TEMPLATE.format(
        rule=rule_name(rule),
        engine=engine,
        instructions=instructions,
        loading=_loading(Path(path)),
        example=", ".join(example),
        imports="\n".join(f"import {name}" for name in sorted({*modules, "math", "sys"})),
        others="\n".join(f"    {each}," for each in others),
        functions=functions,
        first="lowest" if lower_first else "highest",
        reads=", ".join(reads) or "nothing",
        body="\n".join(f"    {line}" for line in lines),
    )
    write_whole(Path(path), lambda partial: partial.write_text(content, encoding="utf-8"))


def _loading(path: Path) -> str:
    """Say how Python gets the function from the file, whose name may be no name of a module."""
    if path.suffix == ".py" and path.stem.isidentifier() and not keyword.iskeyword(path.stem):
        return f"from {path.stem} import priority"
    return f'priority = runpy.run_path({json.dumps(path.name)})["priority"]  # import runpy'


def _functions(number: Written, lines: str) -> str:
    """Define what the lines call."""
    found = number.helpers
    if "_tokens(" in lines:
        found += _TOKENS
    if "_f32(" in lines and "def _f32(" not in found:
        found += _F32
    if number.is_float:
        found += _ASCENDING
    each = [f"def {one.strip()}\n\n\n" for one in found.split("def ") if one.strip()]
    return "".join(each)
