"""Run and print the timed comparisons; `--write` also puts them into docs/studies/benchmarks.md, or their own page.

A suite is a module of this package with a `TITLE` and `run()`, which returns Markdown, or raises InputError where it
cannot measure; its `PAGE` is where its section stands, if not on docs/studies/benchmarks.md.
"""

import argparse
import datetime
import importlib
import pkgutil
from pathlib import Path

import benchmarks
from benchmarks.timing import machine
from wdlora.errors import InputError
from wdlora.files import write_text
from wdlora.quiet import silence_kernel_warning

PAGE = Path(__file__).parents[1] / "docs" / "studies" / "benchmarks.md"
NOT_SUITES = {"__main__", "pictures", "timing"}
ON_REQUEST = {"downstream_networks", "evaluated_cohorts", "gpu"}


def replace_section(page: str, name: str, body: str) -> str:
    """Put `body` between the suite's two marker comments, at the end of the page where they are new."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{start}\n{body}\n{end}"
    if start in page:
        return page[: page.index(start)] + section + page[page.index(end) + len(end) :]
    return page.rstrip() + "\n\n" + section + "\n"


def main() -> None:
    """Run the suites named on the command line, or all."""
    silence_kernel_warning()
    suites = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_SUITES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=", ".join(suites))
    parser.add_argument("--write", action="store_true", help="put the results into the docs")
    args = parser.parse_args()
    if unknown := set(args.suites) - set(suites):
        parser.error(f"no suite named {', '.join(sorted(unknown))}; there are {', '.join(suites)}")
    for name in args.suites or [suite for suite in suites if suite not in ON_REQUEST]:
        suite = importlib.import_module(f"benchmarks.{name}")
        try:
            measured = suite.run()
        except InputError as error:
            parser.error(f"{name}: {error}")
        body = f"## {suite.TITLE}\n\n{measured}\n\n{machine()}, {datetime.date.today()}."
        print(body + "\n", flush=True)
        if args.write:
            place = getattr(suite, "PAGE", PAGE)
            page = place.read_text(encoding="utf-8") if place.exists() else "# Benchmarks\n"
            write_text(place, replace_section(page, name, body))


if __name__ == "__main__":
    main()
