"""A conformance test for rules: `policies/testing` under its public name."""

from jaxsched.policies.testing import (
    MAX_TOKENS,
    check_policy,
)

__all__ = [
    "MAX_TOKENS",
    "check_policy",
]
