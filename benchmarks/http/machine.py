"""Processes on chosen cores, and what they cost: CPU seconds from /proc, and what the machine is."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """Return *pid* and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    found += tree(int(child))
    return found


def cpu_s(pid: int) -> float:
    """Return user plus system seconds of *pid* and all its descendants."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_S


def pss_mib(pid: int) -> float:
    """Return the memory of a process tree, shared pages counted once."""
    kib = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            match = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            kib += int(match[1]) if match else 0
    return kib / 1024


def busy_s(core: int) -> float:
    """Return the seconds *core* has been busy since boot."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * TICK_S
    return 0.0


def start(
    core: int, argv: Sequence[str], *, log: IO[str] | int = subprocess.DEVNULL, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start a program bound to *core*; both its outputs go to *log*."""
    # A waiting shell of our own would be one more process; taskset execs the program in its place.
    return subprocess.Popen(
        ["taskset", "-c", str(core), *argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, cwd=cwd
    )


def stop(process: subprocess.Popen[str]) -> None:
    """End a program and its children."""
    children = tree(process.pid) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        process.wait(5)


def wait_port(port: int, process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until *process* listens on *port*; RuntimeError where it ends or takes too long."""
    deadline_at = time.monotonic() + seconds
    while time.monotonic() < deadline_at:
        if process.poll() is not None:
            raise RuntimeError(f"ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds:g} s")


def describe() -> dict[str, str | int]:
    """Return what a reader must know of the machine."""
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(memory[1]) / 1024 / 1024) if memory else 0,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
