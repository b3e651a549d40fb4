"""Recorded request lengths: read the public formats, sample backlogs, download the sources."""

from jaxsched.workloads.traces._download import SOURCES, Source, download
from jaxsched.workloads.traces._load import TraceWarning, load
from jaxsched.workloads.traces._read import Trace, has_arrival_times, read

__all__ = [
    "SOURCES",
    "Source",
    "Trace",
    "TraceWarning",
    "download",
    "has_arrival_times",
    "load",
    "read",
]
