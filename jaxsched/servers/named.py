"""Servers by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jaxsched._lib.registry import Registry
from jaxsched.model.clock import COEFFICIENTS, LinearClock
from jaxsched.model.server import Server
from jaxsched.servers._fits import FITS, Fit
from jaxsched.servers.files import load

if TYPE_CHECKING:
    import pandas as pd


_FITS: Registry[Fit] = Registry("server", FITS)


class NamedServer(NamedTuple):
    """What is known of a named server.

    Attributes:
      name: as :func:`get` takes it.
      model: what it runs.
      hardware: what it runs on.
      server: the :class:`~jaxsched.Server`, with vLLM's default settings.
      mean_error: mean relative error of the fitted step times.
      max_error: the largest of them.
      source: what they were fitted to.
    """

    name: str
    model: str
    hardware: str
    server: Server
    mean_error: float
    max_error: float
    source: str


def names() -> tuple[str, ...]:
    """List the names of servers.

    Returns:
      The names, oldest first.

    Example:
      >>> import jaxsched as js
      >>> "llama3.1_8b_h100" in js.servers.names()
      True
    """
    return tuple(_FITS)


def info(name: str) -> NamedServer:
    """Say what is known of a server: what it runs, and how good its clock is.

    Args:
      name: one of :func:`names`.

    Returns:
      A :class:`NamedServer`.

    Raises:
      ValueError: no server is called so.

    Example:
      >>> import jaxsched as js
      >>> js.servers.info("llama3.1_8b_h100").mean_error
      0.07
    """
    fit = _FITS[name]
    server = Server(kv_capacity=fit.kv_capacity, clock=_clock(fit))
    return NamedServer(
        name, fit.model, fit.hardware, server, fit.mean_error, fit.max_error, fit.source
    )


def _clock(fit: Fit) -> LinearClock:
    return LinearClock(*map(np.float64, fit.coefficients))


def get(name: str | os.PathLike[str]) -> Server:
    """Find a server by name, or load one from a file.

    Args:
      name: one of :func:`names`; or a path that ends in ``.json``, as :func:`load` takes it.

    Returns:
      The :class:`~jaxsched.Server`: fitted clock, KV capacity, and vLLM's default settings;
      ``server.replace(max_num_seqs=256)`` changes one.

    Raises:
      ValueError: no server is called so, or the file holds none.
      OSError: the file cannot be read.

    Example:
      >>> import jaxsched as js
      >>> js.servers.get("llama3.1_8b_h100")
      Server(kv_capacity=384000, clock=LinearClock(...), block_size=16, ...)
    """
    return load(name) if os.fspath(name).endswith(".json") else info(os.fspath(name)).server


def table() -> pd.DataFrame:
    """All named servers, with source and error of their clocks.

    Returns:
      A pandas table, one row a server: model, hardware, KV capacity, the clock's coefficients in
      milliseconds, mean and largest relative error of the fit, source.

    Raises:
      ImportError: pandas is not installed.

    Example:
      >>> import jaxsched as js
      >>> int(js.servers.table().loc["llama3.1_8b_h100", "kv_capacity"])
      384000
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError('table needs pandas: pip install "jaxsched[pandas]"') from error
    rows = {
        name: {
            "model": fit.model,
            "hardware": fit.hardware,
            "kv_capacity": fit.kv_capacity,
            **dict(zip(COEFFICIENTS, fit.coefficients, strict=True)),
            "mean_error": fit.mean_error,
            "max_error": fit.max_error,
            "source": fit.source,
        }
        for name, fit in FITS.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


#: Iteration times of named servers, by name.
PRESETS: Registry[LinearClock] = Registry(
    "server", {name: _clock(fit) for name, fit in FITS.items()}
)
#: Tokens the KV cache of each of these servers holds.
PRESET_KV_CAPACITY: Registry[int] = Registry(
    "server", {name: fit.kv_capacity for name, fit in FITS.items()}
)
