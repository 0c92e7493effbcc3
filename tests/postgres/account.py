"""Who runs PostgreSQL. It refuses to be root, so where root runs the tests its processes belong to somebody else.

What that user cannot read is copied to where it can: a checkout may lie in a folder that is root's alone.
"""

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.postgres.guard import watch_folder
from tests.postgres.installation import Installation


@cache
def other_user() -> pwd.struct_passwd | None:
    """The user that PostgreSQL's processes run as, where it is not the one who runs the tests."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def new_folder() -> Path:
    """An empty folder that is PostgreSQL's own. It goes with the tests, if nobody removes it before."""
    user = other_user()
    # TMPDIR may be root's alone, as pytest's folders are.
    folder = Path(tempfile.mkdtemp(prefix="factstr-postgres-", dir="/tmp" if user else None))
    watch_folder(folder)
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def start(command: list[str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts one of PostgreSQL's programs in a folder of its own; what it says goes to the log."""
    user = other_user()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG", "LANG", "LC_", "XDG_"))
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            # Nothing of the user's own: no ~/.pgpass, no language. A time zone that is given need not be found.
            env={**kept, "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # The terminal's interrupt is for the tests; they end PostgreSQL.
            start_new_session=True,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def run(command: list[str], folder: Path, log: Path, seconds: float = 60) -> None:
    """Runs one of PostgreSQL's programs to its end."""
    with start(command, folder, log) as process:
        try:
            result = process.wait(seconds)
        except BaseException:
            process.kill()
            raise
    assert result == 0, f"{command[0]} ended with {result}: {end_of(log)}"


def end_of(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


@cache
def runnable(installation: Installation) -> Installation:
    """The same installation, where the user that runs PostgreSQL can run it; copied there if it must be."""
    if other_user() is None or _runs(installation):
        return installation
    folder = new_folder()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Programs find their files next to themselves, and a wheel's libraries lie next to its package.
    prefix = installation.bin.parent
    package = prefix.parent
    copy = folder / package.name / prefix.name
    shutil.copytree(prefix, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    for path in folder.rglob("*"):
        # Where everything was made for its owner only.
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044))
    copied = installation._replace(bin=copy / installation.bin.name)
    assert _runs(copied), f"{other_user()} cannot run {installation.bin}, nor its copy {copied.bin}"
    return copied


def _runs(installation: Installation) -> bool:
    folder = new_folder()
    try:
        run([installation.program("initdb"), "--version"], folder, folder / "log")
        run([installation.program("postgres"), "--version"], folder, folder / "log")
    except (PermissionError, AssertionError):
        return False
    finally:
        shutil.rmtree(folder)
    return True
