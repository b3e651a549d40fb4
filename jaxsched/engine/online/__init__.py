"""Requests that arrive over time, on servers that work in steps.

``serve`` hands streams to ``program``, which lays them out (``arrivals``) and runs one of two
kernels on them, many streams in step (``in_step``):

* the quick one, for vLLM's defaults: ``together`` says how it works, ``quick`` is its loop, made of
  ``settling``, ``stepping``, ``evicting`` and ``ending``;
* the general one, for every setting and option: ``in_order``.

On an NVIDIA GPU the quick one serves each stream by a program of its own (``gpu``).

Both share the queue (``queue``), time as exact sums (``sums``), and the reading and writing of
arrays with streams in the lanes (``lanes``).
"""
