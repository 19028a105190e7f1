"""Options and arguments that Typer refuses, in one line: which one, what is accepted, and what was given."""

from typing import Any

from canuse_server.runtime.validation_text import what_is_accepted


def in_one_line(error: Any) -> str:
    """Return the message for an error of Typer."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    if type(error).__name__ == "NoArgsIsHelpError":
        message = "a command is missing"
    elif (problems := getattr(error.__cause__, "errors", None)) and getattr(error, "param", None):
        problem, given = problems()[0], error.param.opts[-1]
        accepted = what_is_accepted(problem)
        shown = "" if repr(problem["input"]) in accepted else f"; {problem['input']!r} was given"
        message = f"{given}: {accepted}{shown}"
    # An option without its value has no context.
    command = error.ctx.command_path if error.ctx else "canuse"
    return f"{message}; see {command} --help"
