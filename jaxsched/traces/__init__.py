"""Recorded request lengths: read the public formats, sample backlogs, download the sources."""

from jaxsched.traces._download import SOURCES, Source, download
from jaxsched.traces._load import TraceWarning, load
from jaxsched.traces._read import Trace, read

__all__ = ["SOURCES", "Source", "Trace", "TraceWarning", "download", "load", "read"]
