"""Cuts a release: scripts/release.sh runs this, and has the usage.

Everything is built twice, from the commit's files in two folders, and is handed out only if every file came
out the same both times.
"""

import argparse
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import version as numbering
from checkout import Checkout, NotReleasable
from packages import ROOT, Build, build_python, build_typescript, copy_locks, npm_packages
from statement import digests, write_statement, write_sums


def main() -> int:
    """Do what was asked; if it cannot be done, print one line and return 1."""
    options = _options()
    checkout = Checkout(ROOT)
    try:
        with tempfile.TemporaryDirectory() as work:
            _release(checkout, options, Path(work))
    except NotReleasable as error:
        print(f"release.sh: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("version", nargs="?")
    parser.add_argument("--commit", action="store_true")
    parser.add_argument("--python-only", action="store_true")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    if options.commit and not options.version:
        parser.error("--commit needs a VERSION")
    return options


def _release(checkout: Checkout, options: argparse.Namespace, work: Path) -> None:
    # 1. Cut the version in the work tree; for a dry run, in the exported files only.
    dry = bool(options.version) and not options.commit
    if not dry:
        checkout.require_clean()
    version = options.version or numbering.current(ROOT)
    if options.version:
        numbering.check(version, checkout.released)
    if options.commit:
        _cut(ROOT, version)
        checkout.commit_and_tag(version)
    # 2. Build twice, in different folders.
    first, second = (
        _build(checkout, options, work / name, version, dry_run=dry) for name in ("first", "second")
    )
    _require_same(first, second)
    # 3. Hand out.
    into = options.into or (None if dry else ROOT / "dist" / version)
    if into:
        shutil.copytree(first, into, dirs_exist_ok=True)
    _report(checkout, version, first, into, dry_run=dry)


def _cut(folder: Path, version: str) -> None:
    numbering.cut_changelog(folder, version, datetime.now(UTC).date().isoformat())
    numbering.set_everywhere(folder, version)


def _build(
    checkout: Checkout, options: argparse.Namespace, work: Path, version: str, *, dry_run: bool
) -> Path:
    # To import it takes five times as long as to refuse a release.
    from bill import write_npm_bills, write_python_bills  # noqa: PLC0415

    build = Build(work / "source", checkout.committed_at, work / "built")
    build.into.mkdir(parents=True)
    checkout.export(build.source)
    if dry_run:
        _cut(build.source, version)
    build_python(build)
    write_python_bills(build, version)
    if not options.python_only:
        build_typescript(build, npm_packages(build, work.parent / "npm"))
        write_npm_bills(build, version)
    copy_locks(build)
    (build.into / "NOTES.md").write_text(numbering.notes(build.source, version))
    write_statement(build, version, checkout.commit, [] if options.python_only else ["node", "npm"])
    write_sums(build.into)
    return build.into


def _require_same(first: Path, second: Path) -> None:
    one, other = digests(first), digests(second)
    if different := sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)):
        raise NotReleasable(f"not the same when built again: {', '.join(different)}")


def _report(checkout: Checkout, version: str, built: Path, into: Path | None, *, dry_run: bool) -> None:
    for name, digest in digests(built).items():
        print(f"{digest}  {name}")
    print(f"\n{version}, built twice with the same hashes" + (f", is in {into}" if into else ", is not kept"))
    created = datetime.fromtimestamp(checkout.committed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {"VERSION": version, "REVISION": checkout.commit, "CREATED": created}
    arguments = " ".join(f"--build-arg {name}={value}" for name, value in labels.items())
    if dry_run:
        print("A dry run: nothing was committed. With --commit the version is committed and its tag made.")
    else:
        print(f"image: docker build --target service {arguments} -t REGISTRY/kms-service:{version} .")
        print(f"push:  git push origin HEAD v{version}")
        print(f"then:  {checkout.commit} is the LAST_RELEASE of tests/upgrade_versions.py")


if __name__ == "__main__":
    sys.exit(main())
