"""The error a user can cause, and may be shown without a traceback."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message says what was wrong, where (file, row, column, parameter), what was expected and
    what to do next; it fits on one screen. The command line prints it and exits with code 2.

    Parameters
    ----------
    problem
        What is wrong, and where.
    expected
        What would have been right.
    next_step
        What the user can do about it.
    """

    def __init__(self, problem: str, *, expected: str = "", next_step: str = "") -> None:
        self.problem = problem
        self.expected = expected
        self.next_step = next_step
        lines = [problem]
        if expected:
            lines.append(f"Expected: {expected}")
        if next_step:
            lines.append(f"Next step: {next_step}")
        super().__init__("\n".join(lines))


class TrainingDivergedError(UserError):
    """The loss, or an answer of the network, became infinite or not a number."""
