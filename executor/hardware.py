"""What this machine can do, without importing torch."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "tokenizers", "safetensors")


class Hardware(BaseModel):
    """A device and its memory. Sizes in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    """`cpu` or `cuda`"""
    name: str
    cores: int
    memory: int
    """of the device that trains: GPU memory, or what this process may use of the machine's"""
    bfloat16: bool
    """whether bfloat16 matrix products are done in hardware"""


@cache
def hardware() -> Hardware:
    return gpu() or Hardware(
        device="cpu", name=cpu_name(), cores=usable_cores(), memory=usable_memory(), bfloat16=cpu_has_bfloat16()
    )


def gpu() -> Hardware | None:
    """The first NVIDIA GPU, asked through its driver library, or None."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        major, _ = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Hardware(
            device="cuda",
            name=str(pynvml.nvmlDeviceGetName(handle)),
            cores=usable_cores(),
            memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            bfloat16=major >= 8,
        )
    except Exception:  # no driver, no device, an old driver: every one means that there is no GPU to use
        return None


def gpus() -> int:
    """NVIDIA GPUs that this process may use; 0 without any."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpu() is None:
        return 0
    if shown is not None:
        return len([name for name in shown.split(",") if name.strip()])
    import pynvml

    return int(pynvml.nvmlDeviceGetCount())


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_memory() -> int:
    """Physical memory, or the control group's limit where that is smaller."""
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):
        return total


def cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def cpu_has_bfloat16() -> bool:
    return bool(cpu_flags() & {"amx_bf16", "avx512_bf16"})


def cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def environment() -> dict[str, Any]:
    """What env.json records: versions and hardware."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "versions": versions,
        "hardware": hardware().model_dump(),
    }
