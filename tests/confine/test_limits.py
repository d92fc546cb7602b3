"""Every limit stops what passes it, says so on the result, and bounds the damage."""

from __future__ import annotations

import os
import time

import pytest

from quarterdeck.confine import Limits, StoppedBy
from quarterdeck.confine.policy import MIB


async def test_a_fork_bomb_is_stopped_close_to_its_limit(run):
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    began = time.monotonic()
    result = await run(bomb, limits=Limits(processes=40))
    assert result.stopped_by is StoppedBy.PROCESSES
    assert result.processes_peak <= 80  # a loaded machine shows new processes late
    assert time.monotonic() - began < 10


async def test_a_shell_fork_bomb_is_stopped(run):
    result = await run(
        ["bash", "-c", "b() { b | b & }; b; wait; sleep 20"], limits=Limits(processes=40)
    )
    assert result.stopped_by is StoppedBy.PROCESSES


async def test_as_many_processes_as_allowed_are_fine(run):
    code = "import os\nfor _ in range(18): os.fork() or os._exit(0)\nfor _ in range(18): os.wait()"
    assert (await run(code, limits=Limits(processes=20))).ok


async def test_processes_that_come_and_go_are_not_added_up(run):
    code = "for i in $(seq 150); do /bin/true; done"
    result = await run(["sh", "-c", code], limits=Limits(processes=4))
    assert result.ok, result.output


async def test_too_many_threads_are_stopped(run):
    code = "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(9,)).start()"
    result = await run(code, limits=Limits(threads=100))
    assert result.stopped_by is StoppedBy.THREADS


async def test_a_memory_hog_is_stopped(run):
    code = "a = []\nwhile True: a.append(bytearray(4_000_000))"
    result = await run(code, limits=Limits(memory_bytes=200 * MIB))
    assert result.stopped_by is StoppedBy.MEMORY
    assert 200 * MIB < result.memory_peak_bytes < 1500 * MIB


async def test_memory_counts_over_all_processes(run):
    code = (
        "import os, time\nfor _ in range(5): os.fork()\na = bytearray(20_000_000)\ntime.sleep(15)"
    )
    result = await run(code, limits=Limits(memory_bytes=300 * MIB))
    assert result.stopped_by is StoppedBy.MEMORY


async def test_shared_pages_count_once(run):
    code = (
        "import os, time\na = bytearray(60_000_000)\nfor _ in range(3): os.fork()\ntime.sleep(0.7)"
    )
    assert (await run(code, limits=Limits(memory_bytes=300 * MIB))).ok


async def test_cpu_time_counts_over_all_processes(run):
    code = "import os\nos.fork(); os.fork()\nwhile True: pass"
    result = await run(code, limits=Limits(cpu_s=1))
    assert result.stopped_by is StoppedBy.CPU
    assert 0.9 < result.cpu_s < 3


async def test_a_huge_file_is_stopped(run, tree):
    result = await run(
        ["dd", "if=/dev/zero", "of=huge", "bs=1M", "count=10000"],
        limits=Limits(file_bytes=20 * MIB),
    )
    assert result.stopped_by is StoppedBy.FILE
    assert (tree / "huge").stat().st_size <= 20 * MIB


@pytest.mark.slow
async def test_filling_the_disk_is_stopped(run, tree):
    code = "import time\nfor i in range(10**6):\n  open(f'f{i}', 'wb').write(b'x' * 1_000_000)\n  time.sleep(0.005)"
    result = await run(code, limits=Limits(disk_bytes=100 * MIB))
    assert result.stopped_by is StoppedBy.DISK
    assert sum(p.stat().st_size for p in tree.iterdir()) < 1000 * MIB


@pytest.mark.slow
async def test_a_million_files_are_stopped(run, tree):
    code = "import time\nfor i in range(10**6):\n  open(f'f{i}', 'w').close()\n  i % 100 or time.sleep(0.02)"
    result = await run(code, limits=Limits(files=2000))
    assert result.stopped_by is StoppedBy.FILES
    assert len(os.listdir(tree)) < 60_000


async def test_a_gigabyte_of_output_is_stopped_and_bounded(run):
    limits = Limits(output_bytes=MIB, output_stop_bytes=32 * MIB)
    result = await run(["sh", "-c", "head -c 1000000000 /dev/zero"], limits=limits)
    assert result.stopped_by is StoppedBy.OUTPUT
    assert result.truncated
    assert len(result.output) < 1.1 * MIB
    assert 32 * MIB < result.output_bytes < 40 * MIB


async def test_shared_memory_is_bounded(run, namespaces):
    if not namespaces:
        pytest.skip("shared memory is the machine's own there; the file limit holds")
    code = "f = open('/dev/shm/hog', 'wb')\nwhile True: f.write(b'x' * 1_000_000)"
    result = await run(code, limits=Limits(memory_bytes=64 * MIB))
    assert b"No space left" in result.stderr
    assert not os.path.exists("/dev/shm/hog")


async def test_core_dumps_are_off_and_open_files_bounded(run):
    code = "import resource as r\nprint(r.getrlimit(r.RLIMIT_CORE), r.getrlimit(r.RLIMIT_NOFILE))"
    assert (await run(code, limits=Limits(open_files=99))).stdout == b"(0, 0) (99, 99)\n"


async def test_address_space_is_bounded_when_asked(run):
    limits = Limits(address_space_bytes=500 * MIB)
    result = await run("bytearray(10**9)", limits=limits)
    assert b"MemoryError" in result.stderr
