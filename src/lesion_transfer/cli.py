"""The command line of a stage: parse a request, run it, say what went wrong on one screen.

Exit codes: 0 done; 1 an unexpected error; 2 what the user gave cannot be used; 130 interrupted.
Nothing heavy is imported here, so ``--help`` and wrong parameters answer at once.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar, cast

from pydantic import ValidationError, create_model
from pydantic_settings import BaseSettings, CliSettingsSource
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lesion_transfer.errors import UserError
from lesion_transfer.parameters import Parameter, groups, parameters
from lesion_transfer.quiet import quiet_start
from lesion_transfer.stages.request import Request

R = TypeVar("R", bound=Request)

HELP_WIDTH = 100
"""Lines longer than this are hard to read, however wide the terminal."""


def main(
    request_type: type[R],
    run: Callable[[R], None],
    argv: Sequence[str] | None = None,
    *,
    command: str | None = None,
    examples: Sequence[str] = (),
    on_error: Callable[[BaseException], None] = lambda error: None,
) -> int:
    """Parse the arguments, run the stage and return the exit code.

    Parameters
    ----------
    request_type
        The stage's request; its fields are the options.
    run
        What to do with the request.
    argv
        The arguments; None: the process's own.
    command
        How the user calls this, for the help; None: the name of the running script.
    examples
        Command lines shown in the help.
    on_error
        Called, after the message, with whatever ended the command.
    """
    quiet_start()
    debug = False
    try:
        request = parse(request_type, argv, command=command, examples=examples)
        debug = request.debug
        run(request)
    except UserError as error:
        _report(error, str(error), debug)
        on_error(error)
        return 2
    except KeyboardInterrupt as error:
        message = "interrupted; the same command continues where it stopped"
        _report(error, message, debug)
        on_error(error)
        return 130
    except Exception as error:
        # The last stop before the terminal: whatever it is, the user gets one line and a way on.
        cause = (str(error).strip().splitlines() or ["no further detail"])[0]
        message = f"{type(error).__name__}: {cause}"
        if not debug:
            message += "\nNext step: run again with --debug true for the traceback"
        _report(error, message, debug)
        on_error(error)
        return 1
    return 0


def parse(
    request_type: type[R],
    argv: Sequence[str] | None = None,
    *,
    command: str | None = None,
    examples: Sequence[str] = (),
) -> R:
    """Return the request that the arguments describe; ``--help`` prints and exits.

    Raises
    ------
    UserError
        An option is unknown, or a value is not allowed.
    """
    parser = _Parser(request_type, command, examples)
    # A settings class only lends its fields to the parser: the values are validated by the request
    # itself, so that no environment variable called TARGET or SEED can take part.
    fields = cast(
        type[BaseSettings],
        create_model(request_type.__name__, __base__=(request_type, BaseSettings)),
    )
    arguments = None if argv is None else list(argv)
    source: CliSettingsSource[Any] = CliSettingsSource(
        fields,
        cli_parse_args=True if arguments is None else arguments,
        root_parser=parser,
        cli_implicit_flags=False,
        cli_parse_none_str="\0",  # no text a user can type means None; an empty value does
    )
    try:
        return request_type.model_validate(source())
    except ValidationError as error:
        raise UserError(
            "\n".join(_complaint(item["loc"], item) for item in error.errors()),
            next_step=parser.next_step,
        ) from error


class _Parser(argparse.ArgumentParser):
    """An argument parser that raises :class:`UserError` and prints help made for reading."""

    def __init__(
        self, request_type: type[Request], command: str | None, examples: Sequence[str]
    ) -> None:
        super().__init__(prog=command, allow_abbrev=False)
        self._request_type = request_type
        self._examples = examples
        self.next_step = f"{self.prog} --help lists every parameter"

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            raise self._unknown(unknown)
        return parsed, unknown

    def _unknown(self, arguments: list[str]) -> UserError:
        options = [argument for argument in arguments if argument.startswith("--")]
        if not options:
            return UserError(
                f"unexpected argument {arguments[0]!r}",
                expected="parameters as --name value",
                next_step=self.next_step,
            )
        name = options[0].removeprefix("--").partition("=")[0]
        known = [parameter.name for parameter in parameters(self._request_type)]
        nearest = difflib.get_close_matches(name, known, n=1)
        return UserError(
            f"parameter {name}: there is no such parameter",
            expected=f"{nearest[0]} (is that what you meant?)" if nearest else ", ".join(known),
            next_step=self.next_step,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(message.removeprefix("argument "), next_step=self.next_step)

    def format_help(self) -> str:
        console = Console()
        console.width = min(console.width, HELP_WIDTH)
        with console.capture() as capture:
            console.print(Text(self._request_type.summary, style="bold"))
            console.print(Text(f"\nUsage: {self.prog} [--parameter value] …"), soft_wrap=True)
            for example in self._examples:
                console.print(Text(f"Example: {example}"), soft_wrap=True)
            # One width for every group, so that the descriptions of a help page line up.
            widest = max(len(f"--{row.name}") for row in parameters(self._request_type))
            for group in groups(self._request_type):
                console.print(Text(f"\n{group.title}:", style="bold"))
                console.print(Padding(_table(group.parameters, widest), (0, 0, 0, 2)))
        return capture.get()


def _table(rows: Sequence[Parameter], widest: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="cyan", width=widest)
    table.add_column()
    for row in rows:
        text = Text(row.description)
        if row.choices and row.choices != ("true", "false"):
            text.append(f"; one of {', '.join(row.choices)}")
        if row.default:
            text.append(" (default: ", style="dim")
            text.append(row.default.replace(",", ", "))
            text.append(")", style="dim")
        table.add_row(f"--{row.name}", text)
    return table


def _complaint(where: tuple[int | str, ...], item: Any) -> str:
    """Rewrite one of pydantic's findings in the words of the command line."""
    name = ".".join(map(str, where)) or "together"
    if item["type"] == "value_error":
        # One of our own validators, which says what it expected.
        return f"parameter {name}: {item['ctx']['error']}"
    expected = item["msg"].removeprefix("Input should be ").partition(", unable to")[0]
    if item["type"] == "bool_parsing":
        expected = "true or false"
    return f"parameter {name}: got {item['input']!r}; expected {expected}"


def _report(error: BaseException, message: str, debug: bool) -> None:
    console = Console(stderr=True)
    if debug:
        import traceback

        console.out("".join(traceback.format_exception(error)), end="", highlight=False)
    interrupted = isinstance(error, KeyboardInterrupt)
    style, head = ("yellow", "") if interrupted else ("bold red", "error: ")
    console.print(Text(head, style=style).append(message, style="default"), soft_wrap=True)
