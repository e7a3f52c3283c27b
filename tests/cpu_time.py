"""How long processes have computed: what took seconds on a busy machine is told from what computed for seconds.

Linux alone says it of other processes (`/proc`).
"""

import os
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc")


def cpu_seconds(pid: int) -> float:
    """Seconds of computing of a process that runs, all threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ended_children_seconds() -> float:
    """Seconds of computing of all child processes that have ended and were waited for."""
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
