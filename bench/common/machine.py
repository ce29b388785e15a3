"""What a run was measured on."""

import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def machine():
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    chosen = re.search(r"\[(\w+)\]", pages.read_text()) if pages.exists() else None
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "kernel": re.match(r"[\d.]*", platform.release())[0],
        "huge_pages": chosen[1] if chosen else "none",
        "load": os.getloadavg()[0],
    }


def rust_versions():
    """Version of the native engine, with the commit, and of hnsw_rs."""
    packages = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    found = {package["name"]: package["version"] for package in packages}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    commit = f" ({git.stdout.strip()})" if git.returncode == 0 else ""
    return {"native": found["brainy-index"] + commit, "hnsw_rs": found["hnsw_rs"]}
