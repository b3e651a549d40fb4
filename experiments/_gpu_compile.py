"""Compile jax programs for an H100 on a machine that has none, and read what came of it.

XLA's compiler for NVIDIA GPUs comes in the package jax-cuda13-plugin, NVIDIA's assembler for PTX in
nvidia-cuda-nvcc: the extra ``gpu-compile``. JAX_PLATFORMS must be "cpu" before jax is imported.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

# What the compiler asks of a device, from NVIDIA's data sheet and its tables of compute
# capability 9.0.
_H100 = """
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 85899345920
  device_address_bits: 64
  ecc_enabled: true
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
}
platform_name: "CUDA"
runtime_version { major: 13 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
_ARCHITECTURE = "sm_90a"


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A program for an H100.

    Attributes:
      steps: what the host does in a call, in order: "kCommandBuffer" hands the GPU many kernels at
        once, "kConditional" and "kWhile" wait for a number from the GPU; what stands inside of
        these is left out.
      ptx: the text of each kernel by its name; empty where this XLA does not write it.
    """

    steps: tuple[str, ...]
    ptx: dict[str, str]


def missing() -> str | None:
    """Say in a sentence what must be installed first, or None."""
    if importlib.util.find_spec("jax_cuda13_plugin") is None or _assembler() is None:
        return "compiling for a GPU needs the extra gpu-compile: pip install -e '.[gpu-compile]'"
    return None


def compiled(program: Any, shapes: Any, *static: Any) -> Compiled:
    """Compile a jitted program for arguments like ``shapes``, a tuple of pytrees."""
    device = topologies.get_topology_desc(
        "H100", platform="cuda", target_config=_H100, topology="1x1x1"
    ).devices[0]
    arguments = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=SingleDeviceSharding(device)
        ),
        shapes,
    )
    lowered = program.trace(*arguments, *static).lower(lowering_platforms=("cuda",))
    with tempfile.TemporaryDirectory() as folder:
        lowered.compile({"xla_dump_to": folder, "xla_dump_hlo_as_text": True})
        (thunks,) = Path(folder).glob("*.thunk_sequence_after_thunk_passes.txt")
        texts = [path.read_text() for path in Path(folder).glob("*.ptx")]
        steps = tuple(re.findall(r"^\d+: (k\w+)", thunks.read_text(), flags=re.MULTILINE))
    ptx = {re.findall(r"\.entry (\w+)", text)[0]: text for text in texts if ".entry" in text}
    return Compiled(steps, ptx)


def resources(ptx: str) -> dict[str, int]:
    """Assemble a kernel; its registers a thread, and bytes of spills, stack and shared memory."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [
            _assembler(),
            "-v",
            f"-arch={_ARCHITECTURE}",
            source,
            "-o",
            source.with_suffix(""),
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def number(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, said)))

    return {
        "registers": number(r"Used (\d+) registers"),
        "spill_bytes": number(r"(\d+) bytes spill"),
        "stack_bytes": number(r"(\d+) bytes stack frame"),
        "shared_bytes": number(r"(\d+) bytes smem"),
    }


def checked(program: Compiled, kernel: str, most: dict[str, int]) -> dict[str, int]:
    """Describe a program and its kernel; stop where they take more than ``most``, 0 by default."""
    host_steps = {"host_steps": len(program.steps)}  # any number of these will do
    found = host_steps | {
        "host_loops": program.steps.count("kWhile"),
        "host_branches": program.steps.count("kConditional"),
    }
    if kernel in program.ptx:
        found |= resources(program.ptx[kernel])
    limits = dict.fromkeys(found, 0) | host_steps | most
    for name, number in found.items():
        if number > limits[name]:
            sys.exit(f"{kernel}: {name} is {number}; expected at most {limits[name]}")
    return found


def _assembler() -> Path | None:
    """Find ptxas of the package nvidia-cuda-nvcc."""
    try:
        package = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        return None
    folders = package.submodule_search_locations if package else []
    return next(
        (path for path in (Path(each) / "bin/ptxas" for each in folders) if path.is_file()), None
    )
