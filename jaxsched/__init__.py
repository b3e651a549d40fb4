"""Schedule LLM inference under a KV-cache budget: simulate, compare, bound and tune."""

from jaxsched._verify import Verdict, verify
from jaxsched.instance import Instance, stack
from jaxsched.schedule import Schedule, Status

__all__ = ["Instance", "Schedule", "Status", "Verdict", "stack", "verify"]
