"""The tools that missions need work inside: Python and its tests, git, compilers, Node."""

from __future__ import annotations

import shutil
import sys

import pytest

from quarterdeck.confine import Limits


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


async def test_threads_asyncio_and_processes(run):
    code = """
import asyncio, concurrent.futures as futures, multiprocessing as mp, subprocess, sys, threading
def double(x): return 2 * x
async def child():
    process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0]
if __name__ == "__main__":
    with futures.ThreadPoolExecutor(4) as pool:
        print(list(pool.map(double, range(3))))
    with futures.ProcessPoolExecutor(2) as pool:
        print(list(pool.map(double, range(3))))
    for way in ("fork", "spawn", "forkserver"):
        with mp.get_context(way).Pool(2) as pool:
            print(pool.map(double, [7]))
    with mp.Manager() as manager:
        print(manager.list([1]))
    print(asyncio.run(child()), subprocess.run(["true"]).returncode)
"""
    result = await run(["sh", "-c", f"cat > it.py && {sys.executable} it.py"], stdin=code.encode())
    assert result.ok, result.output
    assert result.stdout.decode().split("\n")[:7] == [
        "[0, 2, 4]",
        "[0, 2, 4]",
        *["[14]"] * 3,
        "[1]",
        "b'hi\\n' 0",
    ]


async def test_a_shared_memory_block(run):
    code = (
        "from multiprocessing.shared_memory import SharedMemory as S\n"
        "s = S(create=True, size=100); t = S(s.name); t.buf[0] = 7; print(s.buf[0])\n"
        "t.close(); s.close(); s.unlink()"
    )
    assert (await run(code)).stdout == b"7\n"


@pytest.mark.slow
async def test_pytest_with_workers(run, tree):
    (tree / "test_it.py").write_text(
        "import os, pytest\n@pytest.mark.parametrize('i', range(6))\n"
        "def test(i, tmp_path):\n    (tmp_path / 'x').write_text('y')\n    assert i != 4\n"
    )
    result = await run(
        [sys.executable, "-m", "pytest", "-n", "2", "-q", "--junitxml=report.xml"], timeout_s=60
    )
    assert result.exit_code == 1, result.output
    assert b"1 failed, 5 passed" in result.stdout
    assert (tree / "report.xml").exists()


async def test_a_virtual_environment(run, tree):
    result = await run([sys.executable, "-m", "venv", "--without-pip", "env"])
    assert result.ok, result.output
    result = await run(["env/bin/python", "-c", "import sys; print(sys.prefix)"])
    assert result.stdout.decode().strip() == str(tree / "env")


@needs("git")
async def test_git(run):
    script = """
set -e
git init -q -b main . && git config user.email a@b && git config user.name c
echo one > a && chmod +x a && git add . && git commit -qm one
git checkout -qb other && echo two > a && git commit -qam two
git checkout -q main && git merge -q other && git gc -q && git log --oneline | wc -l
git clone -q . copy && git -C copy status --short
"""
    result = await run(["sh", "-c", script])
    assert result.ok, result.output
    assert result.stdout.split() == [b"2"]


@needs("gcc")
async def test_a_compiler_and_what_it_makes(run):
    script = "echo 'int main(){return 7;}' > a.c && gcc a.c -o a && ./a"
    assert (await run(["sh", "-c", script])).exit_code == 7


@needs("make")
async def test_make_in_parallel(run, tree):
    rules = "all: $(foreach i,1 2 3 4 5 6,f$(i))\nf%:\n\t@sleep 0.01; touch -r /bin/sh $@\n"
    (tree / "Makefile").write_text(rules)
    result = await run(["make", "-j4"])
    assert result.ok, result.output
    assert (tree / "f6").stat().st_mtime < 1.9e9


@needs("node")
async def test_node(run):
    code = (
        "const c = require('child_process'), w = require('worker_threads');"
        "new w.Worker('console.log(6*7)', {eval: true});"
        "console.log(c.execSync('echo hi').toString().trim());"
        "require('fs').writeFileSync('f', 'x'); require('fs').chmodSync('f', 0o600)"
    )
    result = await run(["node", "-e", code])
    assert result.ok, result.output
    assert sorted(result.stdout.split()) == [b"42", b"hi"]


async def test_archives_keep_modes_and_times(run, tree):
    script = (
        "mkdir d && echo x > d/f && chmod 751 d/f && touch -d 2001-01-01 d/f"
        " && tar cf d.tar d && rm -r d && tar xpf d.tar && stat -c '%a %Y' d/f && cp -a d e"
        " && rm -rf d e"
    )
    result = await run(["sh", "-c", script], env={"TZ": "UTC"})
    assert result.stdout == b"751 978307200\n", result.output


async def test_names_and_certificates_are_readable(run):
    code = (
        "import os, pwd, ssl, socket, datetime, zoneinfo\n"
        "pwd.getpwuid(os.getuid()).pw_name\n"
        "print(len(ssl.create_default_context().get_ca_certs()) > 0)\n"
        "zoneinfo.ZoneInfo('Europe/Vienna')\n"
    )
    result = await run(code)
    assert result.ok, result.output


async def test_proc_tells_a_process_about_itself(run):
    code = "print(open('/proc/self/status').readline()); open('/proc/cpuinfo').read()"
    assert (await run(code)).ok


async def test_ps_sees_only_the_command(run, namespaces):
    result = await run(["ps", "-e", "-o", "args"], limits=Limits(processes=8))
    others = result.stdout.count(b"\n")
    assert others <= 4 if namespaces else others <= 1


async def test_a_terminal_of_its_own(run, namespaces):
    if not namespaces:
        pytest.skip("the terminals there would be the machine's own")
    code = "import pty, sys\nsys.exit(pty.spawn(['sh', '-c', 'test -t 0 && echo terminal']))"
    result = await run(code)
    assert result.ok, result.output
    assert b"terminal" in result.stdout
