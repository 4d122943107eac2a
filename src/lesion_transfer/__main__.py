"""``python -m lesion_transfer``: list the entry points, or run one."""

from __future__ import annotations

import difflib
import sys

from rich.console import Console
from rich.table import Table

from lesion_transfer.entry import run_entry_point
from lesion_transfer.stages.requests import ENTRY_POINTS


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        _list()
        return 0
    name, *rest = arguments
    if name in ENTRY_POINTS:
        return run_entry_point(name, rest)
    nearest = difflib.get_close_matches(name, ENTRY_POINTS, n=1) or list(ENTRY_POINTS)
    message = f"error: there is no entry point {name!r}\nExpected: {', '.join(nearest)}"
    print(message, file=sys.stderr)
    return 2


def _list() -> None:
    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan")
    for name, request_type in ENTRY_POINTS.items():
        table.add_row(f"  {name}", request_type.summary)
    console.print("[bold]Usage:[/] python -m lesion_transfer ENTRY_POINT \\[--parameter value] …\n")
    console.print(table)
    console.print("\nEach lists its parameters with --help; docs/parameters.md has them all.")


if __name__ == "__main__":
    raise SystemExit(_main(sys.argv[1:]))
