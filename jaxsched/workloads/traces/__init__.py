"""Recorded requests: read the public formats, sample backlogs and streams, download."""

from jaxsched.workloads.traces._download import SOURCES, Source, download
from jaxsched.workloads.traces._load import load
from jaxsched.workloads.traces._load_requests import load_requests
from jaxsched.workloads.traces._read import has_arrival_times, read
from jaxsched.workloads.traces._recording import Trace
from jaxsched.workloads.traces._runnable import TraceWarning

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
