"""A group of commands whose first one needs no name."""

from typing import Any

from typer.core import TyperGroup


class DefaultCommand(TyperGroup):
    """`group X` is `group first X` unless X is one of its commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = [*self.commands, *self.get_help_option_names(ctx)]
        if args and args[0] not in named:
            args = [next(iter(self.commands)), *args]
        return super().parse_args(ctx, args)
