"""Description of the hardware and software of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.h2load import program_path

PACKAGES = (
    "grpcio",
    "pygrpc-native",
    "protobuf",
    "protovalidate",
    "opentelemetry-sdk",
    "uvloop",
    "fastapi",
    "uvicorn",
    "httptools",
    "connectrpc",
    "pyvoy",
    "granian",
)
GIBIBYTE = 1024**3
KIBIBYTES_PER_MIB = 1024
# Linux describes the caches of the first core here (Documentation/ABI/testing/sysfs-devices-system-cpu).
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
SUFFIXES = {"Data": "d", "Instruction": "i", "Unified": ""}


def describe_machine() -> dict[str, str]:
    """Return the description of the machine, by heading."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    h2load = subprocess.run([program_path(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores, {memory_bytes / GIBIBYTE:.0f} GiB of memory",
        "caches of a core": caches(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{package} {version(package)}" for package in PACKAGES),
        "load": h2load,
        "other work before the run": f"load average {os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def caches(folder: Path = CACHES) -> str:
    """Return the size of each cache of a core by level, such as "L1d 48 KiB, L1i 32 KiB, L2 2 MiB"."""
    return ", ".join(map(_cache, sorted(folder.glob("index*")))) or "unknown"


def _cache(folder: Path) -> str:
    level, kind, size = ((folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size"))
    kib = int(size.removesuffix("K"))
    in_words = f"{kib // KIBIBYTES_PER_MIB} MiB" if kib % KIBIBYTES_PER_MIB == 0 else f"{kib} KiB"
    return f"L{level}{SUFFIXES[kind]} {in_words}"
