"""Recorded requests: `workloads/traces` under its public name."""

from jaxsched.workloads.traces import (
    SOURCES,
    Source,
    Trace,
    TraceWarning,
    download,
    has_arrival_times,
    load,
    load_requests,
    read,
)

__all__ = [
    "SOURCES",
    "Source",
    "Trace",
    "TraceWarning",
    "download",
    "has_arrival_times",
    "load",
    "load_requests",
    "read",
]
