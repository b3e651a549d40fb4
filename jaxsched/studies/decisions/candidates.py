"""What is tried where nobody says what to try."""

from __future__ import annotations

#: Orders that need nothing tuned, that of now first. This is where a tuned rule joins:
#: ``js.decide(reqs, server, [*RULES, rule])``, or ``--policies fcfs,file:RULE``.
RULES = ("fcfs", "shortest_prompt", "smallest_volume")
#: Settings that move the rate most, each with the values to try beside the server's own.
SETTINGS: dict[str, tuple[int, ...]] = {
    "max_num_batched_tokens": (512, 1024, 2048, 4096, 8192),
    "max_num_seqs": (64, 128, 256),
}
