"""The image without an engine: its last stage laid out in a folder, and run in a root of its own, as its user.

What deploy/Dockerfile installs comes from where it comes from there: the packages of the runtime lock (linked from this
environment, where they are installed at the same versions), and the wheel. The root is read-only and has nothing of the
machine but its programs and libraries; `/tmp` is a tmpfs, what is asked for is mounted, the user has no capability.
"""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from requirements import lock
from tests.support.dockerfile import ROOT, Stage, stages, words
from tests.support.process import LONGEST_LINE, Finished, Heliograph

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

#: Where Debian has its programs and libraries; a link stays one.
SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")
DEBIAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSIDE = "/opt/heliograph"


def _has_namespaces() -> bool:
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "chroot", "setpriv"))):
        return False
    return subprocess.run(["unshare", "--mount", "--net", "true"], check=False, capture_output=True).returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _has_namespaces(), reason="a root of its own needs root, unshare, chroot and setpriv"
)


class Image:
    """The last stage, in a folder."""

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.folder = folder
        self.stage = stage

    @property
    def user(self) -> int:
        """Its user's number."""
        return int(self.stage.one("USER").partition(":")[0])

    def volume(self, name: str) -> Path:
        """Make a folder as a named volume is at first: the user's, and closed."""
        made = self.folder / name
        made.mkdir(mode=0o700)
        os.chown(made, self.user, self.user)
        return made

    @contextlib.asynccontextmanager
    async def started(
        self,
        *command: str,
        environ: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        has_network: bool = True,
        is_entrypoint: bool = True,
    ) -> AsyncIterator[Heliograph]:
        """Run the entry point with `command` (or `command` alone); `mounts` are folder -> where it is inside."""
        program = [*(words(self.stage.one("ENTRYPOINT")) if is_entrypoint else ()), *command]
        root = Path(tempfile.mkdtemp(prefix="hgr-"))
        script = self._script(root, program, {self.folder / "opt": INSIDE, **(mounts or {})})
        child = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", *(() if has_network else ("--net",)), "bash", "-euc", script),
            env={**self._environ(), **(environ or {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        running = Heliograph(child, tuple(program), root)
        try:
            yield running
        finally:
            await running.close()

    async def run(self, *command: str, **options: Any) -> Finished:
        """Run something to its end."""
        async with self.started(*command, **options) as running:
            return await running.ended(60)

    def _environ(self) -> dict[str, str]:
        return {name: value.replace("$PATH", DEBIAN_PATH) for name, value in self.stage.environ.items()}

    def _script(self, root: Path, program: Sequence[str], mounts: Mapping[Path, str]) -> str:
        """Return what is done as root in the new mount namespace; it ends in the program, under the same number."""
        at = shlex.quote(str(root))
        lines = [
            f"mount --make-rprivate /; mount -t tmpfs -o mode=755 none {at}; cd {at}",
            "mkdir proc dev tmp run var var/lib",
        ]
        for name in SYSTEM:
            original = Path("/", name)
            if original.is_symlink():
                lines.append(f"ln -s {shlex.quote(str(original.readlink()))} {name}")
            elif original.is_dir():
                lines.append(f"mkdir {name}; mount --bind {original} {name}; mount -o remount,bind,ro {name}")
        if not Path(sys.base_prefix).is_relative_to("/usr"):  # a Python of its own, in somebody's home perhaps
            python = shlex.quote(sys.base_prefix)
            lines.append(f"mkdir -p .{python}; mount --bind {python} .{python}; mount -o remount,bind,ro .{python}")
        lines.append("mount --rbind /proc proc; mount --bind /dev dev; mount -t tmpfs -o mode=1777 none tmp")
        lines += [
            f"mkdir -p .{shlex.quote(inside)}; mount --bind {shlex.quote(str(folder))} .{shlex.quote(inside)}"
            for folder, inside in mounts.items()
        ]
        lines.append(f"mount -o remount,bind,ro .{INSIDE}; mount -o remount,ro .")
        become = f"setpriv --reuid={self.user} --regid={self.user} --clear-groups --bounding-set=-all --no-new-privs"
        lines.append(f"exec chroot . {become} --pdeathsig KILL {shlex.join(program)}")
        return "\n".join(lines)


@contextlib.contextmanager
def built() -> Iterator[Image]:
    """Lay the image out, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="hgi-"))
    try:
        folder.chmod(0o755)
        opt = folder / "opt"
        venv.create(opt, with_pip=False, symlinks=True)
        (packages,) = opt.glob("lib/python*/site-packages")
        for pinned in lock.of_image():
            for file in lock.installed(pinned).files or ():
                if not file.is_absolute() and ".." not in file.parts:
                    _link(Path(str(file.locate())), packages / file)
        _install_wheel(folder, opt, packages)
        shutil.copy(ROOT / "deploy" / "healthcheck.py", opt)
        yield Image(folder, stages()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def _install_wheel(folder: Path, opt: Path, packages: Path) -> None:
    """Build and unpack the wheel, and write its console scripts as pip does."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "dist")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
        ours = {Path(name).parts[0] for name in archive.namelist()}
    for package in sorted(ours):
        compileall.compile_dir(packages / package, quiet=1)
    entry_points = ConfigParser()
    entry_points.read(next(packages.glob("heliograph-*.dist-info/entry_points.txt")))
    for name, where in entry_points["console_scripts"].items():
        module, _, function = where.partition(":")
        script = opt / "bin" / name
        script.write_text(
            f"#!{INSIDE}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(0o755)
