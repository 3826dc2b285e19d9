"""Child processes that do not outlive their parent, and that do not run as root where root is refused.

`start` launches a program through this file, run as a script: it sets the bonds, then becomes the program.
Python cannot run safely between fork and exec of a threaded parent, but it can in a new interpreter.
"""

import argparse
import ctypes
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# linux/prctl.h, linux/securebits.h and linux/capability.h
_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Account:
    """The system account a child runs as."""

    uid: int
    gid: int


def unprivileged_account(owned: Path) -> Account | None:
    """The account to run a program as that refuses root; `None` if this process is not root.

    It is the owner of `owned`, if that exists and is not root's, and `nobody` otherwise.
    """
    if os.geteuid() != 0:
        return None
    if owned.exists() and owned.stat().st_uid != 0:
        return Account(owned.stat().st_uid, owned.stat().st_gid)
    return Account(_NOBODY, _NOBODY)


def start(
    command: Sequence[str | Path],
    *,
    on_parent_death: signal.Signals,
    account: Account | None,
    workspace: Path,
    environ: Mapping[str, str],
    stdout: IO[bytes] | int | None,
    stderr: IO[bytes] | int | None,
) -> subprocess.Popen[bytes]:
    """Start `command` so that the kernel sends it `on_parent_death` when the calling thread ends in any way.

    `account` is who it runs as (`None`: as this process), `workspace` the folder it starts in.
    The child is in a session of its own: Ctrl-C reaches the parent alone, which stops its children in order.
    Where the kernel has no such signal (anywhere but on Linux), the child is not bound.
    """
    program = Path(command[0])
    bonds = ["--parent", str(os.getpid()), "--signal", str(int(on_parent_death))]
    if account is not None:
        bonds += ["--uid", str(account.uid), "--gid", str(account.gid)]
        within_reach = _open_to_all(program) and _open_to_all(workspace.parent)
        bonds += [] if within_reach else ["--override-permissions"]
    return subprocess.Popen(  # noqa: S603 - the commands are this package's own
        [sys.executable, "-I", __file__, *bonds, "--", *map(str, command)],
        cwd=workspace,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def _open_to_all(path: Path) -> bool:
    """Whether every account may enter, or run, `path`, and may enter the folders above it."""
    steps = [path.resolve(), *path.resolve().parents]
    return all(step.stat().st_mode & stat.S_IXOTH for step in steps)


def _become(account: Account, *, override_permissions: bool) -> None:
    """Give up root for `account`.

    With `override_permissions` it may still pass folders closed to it: a clone below /root or a private
    temporary folder has to work, and opening those folders to everyone instead would outlast the run.
    """
    keep = override_permissions and sys.platform == "linux"
    if keep:
        # Else setuid would clear the capability, and access(2), which initdb calls, would ignore it.
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(account.gid)
    os.setuid(account.uid)
    if keep:
        _keep_only_capability(_CAP_DAC_OVERRIDE)


def _keep_only_capability(capability: int) -> None:
    """Hold one capability, and pass it on over exec (capabilities(7), ambient set)."""
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    effective_permitted_inheritable = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, effective_permitted_inheritable) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def _die_with(parent: int, signal_number: int) -> None:
    """Ask the kernel for `signal_number` when `parent` dies; leave at once if it already has."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:
        sys.exit(1)


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main() -> None:
    """Set the bonds named on the command line, then become the program after `--`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--override-permissions", action="store_true")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.uid is not None:
        _become(Account(options.uid, options.gid), override_permissions=options.override_permissions)
    _die_with(options.parent, options.signal)  # last: changing the account clears it
    os.execv(options.command[0], options.command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
