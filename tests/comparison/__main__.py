"""`python -m tests.comparison [--record] [--only LIBRARY]`: run the probes, and show what they found."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from . import recorded, worker
from .rows import LIBRARIES, ROWS
from .scene import make_certificates


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.comparison", description="What other libraries do, and ours."
    )
    parser.add_argument("--record", action="store_true", help="keep it, for the README and the documentation")
    parser.add_argument("--only", choices=LIBRARIES, metavar="LIBRARY", help=f"one of {', '.join(LIBRARIES)}")
    found = parser.parse_args(arguments)
    if found.record and found.only:
        parser.error("what is recorded has all libraries: no --only")
    return found


def main() -> None:
    arguments = parsed()
    results: recorded.Results = {}
    for library in [arguments.only] if arguments.only else LIBRARIES:
        if not worker.is_there(library):
            sys.exit(f"{library} is not there, or not all that its probes need: `make compare` installs it")
        results[library] = found_by(library)
        print(f"{library} {results[library]['version']}")
        for row in ROWS:
            for kind, found in recorded.outcomes(results, library, row).items():
                print(f"  {found.mark:<8}{row.name} ({kind}): {found.found}")
        sys.stdout.flush()
    if arguments.record:
        recorded.record(results)
        recorded.write_readme()


def found_by(library: str) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        return worker.found_by(library, Path(folder))


if __name__ == "__main__":
    main()
