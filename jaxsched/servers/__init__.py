"""Named servers, servers in files, and how much a server's KV cache holds."""

from jaxsched.servers.capacity import kv_capacity, kv_capacity_of_model
from jaxsched.servers.files import load, save
from jaxsched.servers.named import NamedServer, get, info, names, table

__all__ = [
    "NamedServer",
    "get",
    "info",
    "kv_capacity",
    "kv_capacity_of_model",
    "load",
    "names",
    "save",
    "table",
]
