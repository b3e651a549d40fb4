"""Named servers: clock, KV capacity and engine settings, with source and error of the fit."""

from jaxsched.servers.named import NamedServer, get, info, names, table

__all__ = ["NamedServer", "get", "info", "names", "table"]
