"""Runs a driver's checks and tells what became of each, as one line of JSON."""

import asyncio
import json
import traceback
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any

Check = Callable[..., Any]


def run(names: Mapping[str, Any], *arguments: Any) -> None:
    """Calls each function `check_…` of `names` with `arguments`; prints its name -> how it failed, "" if it did not."""
    checks = {name: check for name, check in names.items() if name.startswith("check_")}
    print(json.dumps({name: _failure(check, arguments) for name, check in checks.items()}))


def _failure(check: Check, arguments: tuple[Any, ...]) -> str:
    try:
        if iscoroutinefunction(check):
            asyncio.run(check(*arguments))
        else:
            check(*arguments)
    except Exception:
        return traceback.format_exc()
    return ""
