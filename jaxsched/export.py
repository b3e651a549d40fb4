"""Schedules, rules and settings for other programs: `show/export` and `policies/engines`."""

from jaxsched.policies.engines.sglang import sglang_priority
from jaxsched.policies.engines.vllm import vllm_arguments, vllm_flags, vllm_priority
from jaxsched.show.export import chrome_trace

__all__ = [
    "chrome_trace",
    "sglang_priority",
    "vllm_arguments",
    "vllm_flags",
    "vllm_priority",
]
