"""Clocks fitted to a running engine: `servers/calibration` under its public name."""

from jaxsched.servers.calibration.calibration import Alternative, Calibration
from jaxsched.servers.calibration.fit_bench import fit_bench
from jaxsched.servers.calibration.fit_log import fit_log
from jaxsched.servers.calibration.least_squares import Error

__all__ = ["Alternative", "Calibration", "Error", "fit_bench", "fit_log"]
