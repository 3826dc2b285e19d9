"""Read a report of pip-audit and print its verdict: holes found, none found, or nothing looked up."""

import json
import sys
from pathlib import Path


def main(report: Path) -> int:
    """Print a line for each known hole and one for the verdict; return 1 if there is a hole."""
    text = report.read_text()
    if not text:
        print("NOT AUDITED: the advisory service cannot be reached from here")
        return 0
    packages = json.loads(text)["dependencies"]
    looked_up = [package for package in packages if "vulns" in package]
    holes = [(package, hole) for package in looked_up for hole in package["vulns"]]
    for package, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, fixed in {fixed}", file=sys.stderr)
    not_looked_up = len(packages) - len(looked_up)
    verdict = "AUDITED" if looked_up else "NOT AUDITED"
    counts = f"{len(looked_up)} packages looked up, {not_looked_up} unknown there, {len(holes)} holes"
    print(f"{verdict}: {counts}")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
