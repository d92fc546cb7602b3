"""What a hostile command tries; runs inside the sandbox and prints which attacks worked.

Usage: attacks.py FACTS, where FACTS is a JSON object with the places and numbers of the outside.
"""

# ruff: noqa: S103 - opening what is shut is what an attack does
import ctypes
import json
import os
import resource
import signal
import socket
import sys
import threading

FACTS = json.loads(sys.argv[1])
OUTSIDE = FACTS["outside"]
LIBC = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"


def call(number, *arguments):
    if LIBC.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "syscall")


def read(path):
    with open(path, "rb") as file:
        assert file.read(1)


def write(path):
    with open(path, "w") as file:
        file.write("changed")


def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(1)
        client.connect(address)


def send_datagram(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", address)


def datagram_of_a_pair():
    one, _ = socket.socketpair(type=socket.SOCK_DGRAM)
    one.sendto(b"x", OUTSIDE + "/datagram.sock")


def fast_open():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", 0x20000000, ("127.0.0.1", FACTS["tcp"]))


def through_symlink():
    os.symlink(OUTSIDE, "way-out")
    read("way-out/secret")


def through_symlink_write():
    os.symlink(OUTSIDE + "/fresh", "way-out-2")
    write("way-out-2")


def own_secret_file():
    """Link a file of the outside into the tree, to read it under the tree's rule."""
    os.link(OUTSIDE + "/secret", "linked")
    read("linked")


def set_uid_file():
    fd = os.open("tool", os.O_CREAT | os.O_WRONLY, 0o4755)
    os.close(fd)
    assert os.stat("tool").st_mode & 0o4000


def set_uid_chmod():
    write("tool2")
    os.chmod("tool2", 0o4755)
    assert os.stat("tool2").st_mode & 0o4000


def chmod_by_descriptor():
    fd = os.open("/usr/bin/env", os.O_RDONLY)
    os.fchmod(fd, os.fstat(fd).st_mode)


def chmod_through_proc():
    fd = os.open(OUTSIDE, os.O_PATH)
    os.chmod(f"/proc/self/fd/{fd}", 0o777)


def chmod_from_thread():
    failed = []

    def work():
        try:
            os.chmod(OUTSIDE + "/secret", 0o777)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def tiocsti():
    primary, secondary = os.openpty()
    import fcntl

    fcntl.ioctl(secondary, 0x5412, b"x")
    os.close(primary)


def x32_call():
    if not X86:
        raise OSError("no x32 here")
    call(0x40000000 + 39)


def abstract_socket():
    connect(socket.AF_UNIX, "\0" + FACTS["abstract"])


def kill_everybody():
    """Linux says it went well although nobody got it; the server's survival is the proof."""
    try:
        os.kill(FACTS["server"], 0)
    except OSError:
        os.kill(-1, signal.SIGTERM)
    else:
        return  # it would really work: do not do it to the machine that runs the tests
    raise OSError("see whether the server survives")


def capabilities():
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    # an ordinary user cannot empty the bounding set, and has no way to gain what is in there
    names = ["CapInh", "CapPrm", "CapEff", "CapAmb"] + (["CapBnd"] if os.getuid() == 0 else [])
    assert any(int(lines[name], 16) for name in names)


ATTACKS = {
    "read /etc/shadow": lambda: read("/etc/shadow"),
    "read another directory": lambda: read(OUTSIDE + "/secret"),
    "list another directory": lambda: os.listdir(OUTSIDE),
    "list the root": lambda: os.listdir("/"),
    "write outside": lambda: write(OUTSIDE + "/fresh"),
    "overwrite outside": lambda: write(OUTSIDE + "/secret"),
    "truncate outside": lambda: os.truncate(OUTSIDE + "/secret", 0),
    "truncate what is readable": lambda: os.open(
        FACTS["readable"] + "/kept", os.O_RDONLY | os.O_TRUNC
    ),
    "write to what is readable": lambda: write(FACTS["readable"] + "/kept"),
    "remove outside": lambda: os.remove(OUTSIDE + "/secret"),
    "rename outside": lambda: os.rename(OUTSIDE + "/secret", "taken"),
    "make a directory outside": lambda: os.mkdir(OUTSIDE + "/dir"),
    "symlink out": through_symlink,
    "write through a symlink": through_symlink_write,
    "hard link": own_secret_file,
    "chmod outside": lambda: os.chmod(OUTSIDE + "/secret", 0o777),
    "chmod relative": lambda: os.chmod(os.path.relpath(OUTSIDE + "/secret"), 0o777),
    "chmod by descriptor": chmod_by_descriptor,
    "chmod through /proc": chmod_through_proc,
    "chmod from a thread": chmod_from_thread,
    "touch outside": lambda: os.utime(OUTSIDE + "/secret"),
    "touch outside at a time": lambda: os.utime(OUTSIDE + "/secret", (1, 1)),
    "set an attribute outside": lambda: os.setxattr(OUTSIDE + "/secret", "user.x", b"y"),
    "set-uid file": set_uid_file,
    "set-uid by chmod": set_uid_chmod,
    "device node": lambda: os.mknod("disk", 0o60600, os.makedev(8, 0)),
    "connect by TCP": lambda: connect(socket.AF_INET, ("127.0.0.1", FACTS["tcp"])),
    "connect by TCP over IPv6": lambda: connect(socket.AF_INET6, ("::1", FACTS["tcp"])),
    "TCP fast open": fast_open,
    "send by UDP": lambda: send_datagram(socket.AF_INET, ("127.0.0.1", FACTS["udp"])),
    "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "vsock": lambda: socket.socket(40, socket.SOCK_STREAM),
    "Unix socket of the host": lambda: connect(socket.AF_UNIX, OUTSIDE + "/host.sock"),
    "Unix datagram to the host": lambda: send_datagram(socket.AF_UNIX, OUTSIDE + "/datagram.sock"),
    "datagram of a pair": datagram_of_a_pair,
    "abstract Unix socket": abstract_socket,
    "kill the server": lambda: os.kill(FACTS["server"], signal.SIGTERM),
    "kill the launcher": lambda: os.kill(FACTS.get("launcher") or os.getppid(), signal.SIGTERM),
    "kill everybody": kill_everybody,
    "limit the server": lambda: resource.prlimit(FACTS["server"], resource.RLIMIT_CPU, (60, 60)),
    "slow the server": lambda: os.setpriority(os.PRIO_PROCESS, FACTS["server"], 19),
    "slow every process of the user": lambda: os.setpriority(os.PRIO_USER, os.getuid(), os.nice(0)),
    "move the server": lambda: os.sched_setaffinity(FACTS["server"], {0}),
    "ptrace the server": lambda: call(101 if X86 else 117, 16, FACTS["server"], 0, 0),
    "read the server's memory": lambda: read(f"/proc/{FACTS['server']}/mem"),
    "environment of the server": lambda: read(f"/proc/{FACTS['server']}/environ"),
    "environment of process 1": lambda: read("/proc/1/environ"),
    "command line of the server": lambda: read(f"/proc/{FACTS['server']}/cmdline"),
    "mount": lambda: call(165 if X86 else 40, b"none", b".", b"tmpfs", 0, None),
    "chroot": lambda: os.chroot("."),
    "unshare": lambda: call(272 if X86 else 97, 0x10000000),
    "clone into a user namespace": lambda: call(56 if X86 else 220, 0x10000000 | 17, 0, 0, 0, 0),
    "setns": lambda: call(308 if X86 else 268, 0, 0),
    "keyctl": lambda: call(250 if X86 else 219, 0, -3, 1),
    "bpf": lambda: call(321 if X86 else 280, 0, None, 0),
    "perf_event_open": lambda: call(298 if X86 else 241, None, 0, -1, -1, 0),
    "userfaultfd": lambda: call(323 if X86 else 282, 1),
    "io_uring": lambda: call(425, 8, ctypes.create_string_buffer(120)),
    "clone3": lambda: call(435, ctypes.create_string_buffer(88), 88),
    "a call of the future": lambda: call(600),
    "x32 call": x32_call,
    "kernel log": lambda: call(103 if X86 else 116, 10, None, 0),
    "host name": lambda: socket.sethostname("taken"),
    "typing into a terminal": tiocsti,
    "capabilities": capabilities,
    "become somebody else": lambda: os.setuid(os.getuid() + 1),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)),
}


def main():
    worked = []
    for name, attack in ATTACKS.items():
        try:
            attack()
        except (OSError, AssertionError, ValueError, ctypes.ArgumentError, TimeoutError):
            continue
        worked.append(name)
    secrets = [name for name in os.environ if "SECRET" in name]
    print(json.dumps({"worked": worked, "secrets": secrets, "tried": len(ATTACKS)}))


main()
