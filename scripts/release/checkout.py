"""The checkout that a release is made from, through git."""

import subprocess
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path


class NotReleasable(Exception):
    """This checkout cannot be released; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A work tree of git at its commit."""

    folder: Path

    @property
    def commit(self) -> str:
        """The commit's id, 40 hexadecimal digits."""
        return self._git("rev-parse", "HEAD").strip()

    @property
    def committed_at(self) -> int:
        """When the commit was made, in seconds since 1970: the SOURCE_DATE_EPOCH of all that is built."""
        return int(self._git("show", "--no-patch", "--format=%ct", "HEAD"))

    @property
    def released(self) -> list[str]:
        """The versions that have a tag here."""
        return [tag.removeprefix("v") for tag in self._git("tag", "--list", "v*").split()]

    def export(self, folder: Path) -> None:
        """Write the commit's files into a folder, and nothing that is only in the work tree."""
        with tarfile.open(fileobj=BytesIO(self._archive())) as archive:
            archive.extractall(folder, filter="data")

    def require_clean(self) -> None:
        """Check that the work tree has no uncommitted changes.

        Raises:
            NotReleasable: it has some.
        """
        if changed := self._git("status", "--porcelain", "--untracked-files=no").splitlines():
            raise NotReleasable(f"{len(changed)} changed files are not committed, such as {changed[0][3:]}")

    def commit_and_tag(self, version: str) -> None:
        """Commit all changes as this version and put its tag there; nothing is pushed."""
        self._git("commit", "--all", "--quiet", "--message", f"release: {version}")
        self._git("tag", "--annotate", f"v{version}", "--message", f"kms-service {version}")

    def _archive(self) -> bytes:
        return subprocess.run(
            ["git", "archive", "HEAD"],  # noqa: S607 - the one on the path, as for whoever commits here
            cwd=self.folder,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - constants and a version that was checked
            ["git", *arguments],  # noqa: S607 - as above
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NotReleasable(f"git {arguments[0]}: {done.stderr.strip()}")
        return done.stdout
