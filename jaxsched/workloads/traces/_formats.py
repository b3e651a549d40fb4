"""The known trace formats: which columns hold what, and in what unit their times count."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Format(NamedTuple):
    """A trace format.

    Attributes:
      name: whose it is.
      prompt: the column of prompt tokens, ``outer.inner`` where records are nested.
      output: the column of output tokens.
      arrival: the column of arrival times, which may be absent.
      unit: of those times; None for dates.
      marks: columns that tell it from a format with the same columns, one of them at least.
    """

    name: str
    prompt: str
    output: str
    arrival: str
    unit: str | None
    marks: tuple[str, ...] = ()


FORMATS = (
    Format("Azure LLM inference", "ContextTokens", "GeneratedTokens", "TIMESTAMP", None),
    Format("BurstGPT", "Request tokens", "Response tokens", "Timestamp", "s"),
    Format("Mooncake", "input_length", "output_length", "timestamp", "ms"),
    Format(
        *("Qwen (Bailian)", "input_length", "output_length", "timestamp", "s"),
        marks=("chat_id", "parent_chat_id"),
    ),
    Format("Vidur", "num_prefill_tokens", "num_decode_tokens", "arrived_at", "s"),
    Format("LLMServingSim", "input_toks", "output_toks", "arrival_time_ns", "ns"),
    Format("SplitwiseSim", "prompt_size", "token_size", "arrival_timestamp", "s"),
    Format(
        *("AIPerf", "metrics.input_sequence_length.value", "metrics.output_sequence_length.value"),
        *("metadata.request_start_ns", "ns"),
    ),
    Format("vLLM and SGLang benchmarks", "input_lens", "output_lens", "start_times", "s"),
)


def plain(name: str) -> str:
    """Write a column's name without what spreadsheets and people change: case, spaces, dashes."""
    return "".join(letter for letter in name.casefold() if letter.isalnum() or letter == ".")


def known_formats(columns: Iterable[str]) -> list[Format]:
    """List formats whose lengths are there; of alike ones those that are marked."""
    there = set(map(plain, columns))
    having = [each for each in FORMATS if {plain(each.prompt), plain(each.output)} <= there]
    marked = [each for each in having if there & set(map(plain, each.marks))]
    rivals = {(each.prompt, each.output) for each in marked}
    return marked + [
        each for each in having if not each.marks and (each.prompt, each.output) not in rivals
    ]
