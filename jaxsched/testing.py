"""Conformance tests for rules and estimators: those of policies and tuning, by public names."""

from jaxsched.policies.testing import (
    MAX_TOKENS,
    check_policy,
)
from jaxsched.tuning.testing import check_estimator

__all__ = [
    "MAX_TOKENS",
    "check_estimator",
    "check_policy",
]
