"""Run the tests of this folder as on a VM: in a new network and a new mount namespace.

``python tests/vm/enter.py [pytest's arguments]``, as root or, where the kernel allows user
namespaces, as any user.

In the namespaces 169.254.169.254 is an address of `lo`, `management.azure.com` is a name of
127.0.0.1 and `login.microsoftonline.com` of 127.0.0.2, so that a client with all defaults connects
to the servers of the tests; no other machine can be reached. The machine outside keeps its `lo` and
its /etc/hosts. Where namespaces are not allowed, this script prints the reason and exits with 0,
but with 1 in CI, where the tests must run.

This script waits for one child: `unshare` creates the namespaces and executes this script with
``--inside``, which sets them up and executes the command. The command `true` is tried first, to
find out whether namespaces are allowed.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

IMDS = "169.254.169.254"
ARM = "management.azure.com"
ENTRA, ENTRA_ADDRESS = "login.microsoftonline.com", "127.0.0.2"
HOSTS = f"127.0.0.1 localhost\n127.0.0.1 {ARM}\n{ENTRA_ADDRESS} {ENTRA}\n"
# A machine may look names up in DNS, systemd or a daemon before its hosts file.
NSSWITCH = "passwd: files\ngroup: files\nhosts: files\n"

_HERE = Path(__file__).resolve().parent
_FURNITURE = {"hosts": HOSTS, "nsswitch.conf": NSSWITCH}
_UNSHARE = ("--net", "--mount", "--propagation", "private")
_AS_ANYBODY = ("--user", "--map-root-user")
_PROBE_SECONDS = 30


def main(arguments: Sequence[str], tests: Path = _HERE) -> int:
    """Run the tests of a folder in new namespaces, and return pytest's exit code."""
    if arguments[:1] == ["--inside"]:
        _run_inside(Path(arguments[1]), arguments[2:])
    with tempfile.TemporaryDirectory(prefix="aiomsi-vm-") as name:
        folder = Path(name)
        for file, content in _FURNITURE.items():
            (folder / file).write_text(content)
        way = _find_way_in(folder)
        if isinstance(way, str):
            in_ci = bool(os.environ.get("CI"))
            outcome = "FAILED, since it must run in CI" if in_ci else "skipped"
            print(f"tests/{tests.name} {outcome}: {way}")
            return int(in_ci)
        # The user ids outside and inside may differ, so that pytest's shared temporary folder and
        # its cache may not be writable.
        pytest = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--basetemp={folder / 'pytest'}",
            str(tests),
        ]
        return subprocess.run(
            [*way, *pytest, *arguments], env=_pick_environment(os.environ), check=False
        ).returncode


def explain_outside(hosts: str = "/etc/hosts", address: str = IMDS) -> str | None:
    """Return why this process is outside the namespaces; None if inside. Sends no packets."""
    if Path(hosts).read_text(encoding="utf-8") != HOSTS:
        return f"{hosts} is not the one of tests/vm"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return f"{address} is not an address of this machine"
    return None


def _pick_environment(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in environment.items() if not name.lower().endswith("_proxy")
    }
    return kept | {"AIOMSI_VM": "1"}


def _find_way_in(folder: Path, platform: str = sys.platform) -> list[str] | str:
    """Return the command that runs another one inside, found by a trial, or why none works."""
    if platform != "linux":
        return f"namespaces need Linux, and this is {platform}"
    for program in ("unshare", "mount"):
        if shutil.which(program) is None:
            return f"{program} (of util-linux) is not installed"
    reasons = []
    for user in (), _AS_ANYBODY:
        way = ["unshare", *user, *_UNSHARE, sys.executable, __file__, "--inside", str(folder)]
        try:
            probe = subprocess.run(
                [*way, "true"], capture_output=True, text=True, check=False, timeout=_PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            reasons.append(f"unshare hung for {_PROBE_SECONDS} s")
            continue
        if probe.returncode == 0:
            return way
        said = probe.stderr.strip().splitlines() or [
            f"unshare ended with {probe.returncode} and said nothing"
        ]
        reasons.append(said[-1])
    return "; ".join(dict.fromkeys(reasons))


def _run_inside(folder: Path, command: Sequence[str]) -> NoReturn:
    """Set up the namespaces, and execute the command."""
    try:
        _prepare(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"the namespaces can't be prepared: {error}")
    os.execvp(command[0], list(command))  # noqa: S606  # without a shell


def _prepare(folder: Path) -> None:
    _bring_up_loopback()
    for file in _FURNITURE:
        target = Path("/etc", file)
        if file == "hosts" or target.exists():
            subprocess.run(["mount", "--bind", folder / file, target], check=True)
    found = {str(answer[4][0]) for answer in socket.getaddrinfo(ARM, 443)}
    if found != {"127.0.0.1"}:
        msg = f"{ARM} is {', '.join(sorted(found))} in spite of the hosts file"
        raise OSError(msg)


def _bring_up_loopback() -> None:
    """Bring up `lo` and add IMDS's address to it, by the ioctls of netdevice(7)."""
    import fcntl

    get_flags, set_flags, set_address, set_mask, up = 0x8913, 0x8914, 0x8916, 0x891C, 0x1

    def with_address(label: bytes, address: str) -> bytes:
        return struct.pack("16sHH4s16x", label, socket.AF_INET, 0, socket.inet_aton(address))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, get_flags, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack_from("16sH", answer)[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sH22x", b"lo", flags | up))
        fcntl.ioctl(control, set_address, with_address(b"lo:imds", IMDS))
        # With the default mask all of 169.254.0.0/16 would be addresses of this machine.
        fcntl.ioctl(control, set_mask, with_address(b"lo:imds", "255.255.255.255"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
