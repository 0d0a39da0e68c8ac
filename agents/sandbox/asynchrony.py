"""Whether a tool runs as a coroutine, and its result made whole. Runs only in the tool's own process."""

import ast
import asyncio
import functools
import inspect
import io
import itertools
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

MAX_ITEMS = 100_000  # that are taken of a generator; one that does not end would fill the memory first
MAX_DEPTH = 8  # of promises within promises


def is_async(tool: "BaseTool") -> bool:
    """Whether `_arun` is what runs: where a function is given, by that; else where `_run` only says that it cannot."""
    from langchain_core.tools import BaseTool

    if hasattr(tool, "coroutine") and hasattr(tool, "func"):
        return tool.func is None and tool.coroutine is not None
    return type(tool)._arun is not BaseTool._arun and not is_implemented(type(tool)._run)


def is_implemented(function: Callable[..., Any]) -> bool:
    """Whether a function does anything but pass, or raise at its end without having returned."""
    if getattr(function, "__isabstractmethod__", False):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return True
    if not isinstance(tree, ast.FunctionDef):
        return True
    does = [node for node in tree.body if not isinstance(node, ast.Pass) and not _is_a_constant(node)]
    if not does:
        return False
    gives = any(isinstance(node, ast.Return | ast.Yield | ast.YieldFrom | ast.Await) for node in ast.walk(tree))
    return gives or not isinstance(does[-1], ast.Raise) or not all(map(_only_prepares, does[:-1]))


def _is_a_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _only_prepares(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and not any(
        isinstance(part, ast.Call) for part in ast.walk(node)
    )


def make_whole(tool: "BaseTool", *, as_coroutine: bool) -> None:
    """Let what runs give its result and not a promise of one: coroutines are awaited, generators consumed.

    Done before LangChain makes text of the result.
    """
    if as_coroutine:
        run = tool._arun

        @functools.wraps(run)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            return await _settle(run(*args, **kwargs))

        object.__setattr__(tool, "_arun", arun)
    else:
        function = tool._run

        @functools.wraps(function)
        def run_whole(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            return asyncio.run(_settle(result)) if _is_promise(result) else result

        object.__setattr__(tool, "_run", run_whole)


def _is_promise(value: Any) -> bool:
    if isinstance(value, tuple):  # content and artifact
        return any(map(_is_promise, value))
    return inspect.isawaitable(value) or hasattr(value, "__anext__") or _is_iterator(value)


def _is_iterator(value: Any) -> bool:
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase)


async def _settle(value: Any) -> Any:
    """Raises TypeError and ValueError for promises that have no end."""
    for _ in range(MAX_DEPTH):
        if inspect.isawaitable(value):
            value = await value
        elif hasattr(value, "__anext__"):
            value = _counted([item async for item in _first_of(value)])
        elif _is_iterator(value):
            value = _counted(list(itertools.islice(value, MAX_ITEMS + 1)))
        elif isinstance(value, tuple) and any(map(_is_promise, value)):
            value = tuple([await _settle(part) for part in value])
        else:
            return value
    raise TypeError("The tool returned promises within promises.")


async def _first_of(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for _ in range(MAX_ITEMS + 1):
        try:
            yield await anext(items)
        except StopAsyncIteration:
            return


def _counted(items: list[Any]) -> list[Any]:
    if len(items) > MAX_ITEMS:
        raise ValueError(f"The tool gave more than {MAX_ITEMS:,} items.")
    return items
