"""Functions of every kind with something around each call of them."""

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, aclosing
from functools import wraps
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
Around = Callable[[], AbstractContextManager[None]]


def surrounded(function: Function, around: Around) -> Function:
    """The function, with a fresh `around()` entered for each call. A coroutine's or generator's
    call is over when that has ended."""
    if inspect.isasyncgenfunction(function):
        return cast(Function, _async_generator(function, around))
    if inspect.isgeneratorfunction(function):
        return cast(Function, _generator(function, around))
    if inspect.iscoroutinefunction(function):
        return cast(Function, _coroutine(function, around))
    return cast(Function, _plain(function, around))


def _plain(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with around():
            return function(*args, **kwargs)

    return call


def _coroutine(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        with around():
            return await function(*args, **kwargs)

    return call


def _generator(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with around():
            return (yield from function(*args, **kwargs))

    return call


def _async_generator(function: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        with around():
            async with aclosing(function(*args, **kwargs)) as items:
                async for item in items:
                    yield item

    return call
