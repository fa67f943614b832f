"""Pickles read as data: the few opcodes that plain containers need, and no name that the caller does not offer.

Python's own unpickler can be kept from importing, but not from setting attributes of what it is handed, nor from
taking all memory when one byte of a file is wrong (an index into its memo is the size of a table).
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: BinaryIO, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> Any:
    """The value of the pickle that begins at the position of `file`, which is left behind it.

    `names` has what stands for each global, by module.name; only these are called. `persistent` turns a persistent id
    into an object. Raises ValueError and other exceptions when the pickle is damaged or needs more than that.
    """
    # genops reads opcodes and their arguments, and does nothing with them.
    machine = _Machine(names, persistent)
    for opcode, argument, _ in pickletools.genops(file):
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    def __init__(self, names: Mapping[str, Any], persistent: Callable[[Any], Any]) -> None:
        # Marks are places in the stack, not objects on it, so that nothing can be made of one.
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._names = names
        self._persistent = persistent

    def step(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "BINPUT" | "LONG_BINPUT":
                # A dict, where Python's own memo is a list that grows to the index.
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "MARK":
                self._marks.append(len(stack))
            case "GLOBAL":
                name = argument.replace(" ", ".")
                if name not in self._names:
                    raise ValueError(f"it names {name}, which is not allowed")
                stack.append(self._names[name])
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                # Only what `names` offers can be called: numbers, texts, containers and tensors are not callable.
                stack.append(stack.pop()(*arguments))
            case "BUILD":
                stack.pop()  # Attributes, which containers do without.
            case _:
                self._collect(opcode)

    def _collect(self, opcode: str) -> None:
        stack = self.stack
        match opcode:
            case constant if constant in _CONSTANTS:
                stack.append(_CONSTANTS[constant])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._pop(self._marks.pop())))
            case size if size in _TUPLES:
                stack.append(tuple(self._pop(len(stack) - _TUPLES[size])))
            case "APPEND":
                self._extend(self._pop(len(stack) - 1))
            case "APPENDS":
                self._extend(self._pop(self._marks.pop()))
            case "SETITEM":
                self._set(self._pop(len(stack) - 2))
            case "SETITEMS":
                self._set(self._pop(self._marks.pop()))
            case _:
                raise ValueError(f"it uses the opcode {opcode}, which plain containers do not need")

    def _pop(self, start: int) -> list[Any]:
        """The stack from `start` up, taken off."""
        if not 0 <= start <= len(self.stack):
            raise ValueError("its stack runs empty")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _extend(self, items: list[Any]) -> None:
        self.stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        # Hashing anything deeper could take for ever: a tuple of a pair of pairs, and so on, is short to write.
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("a dictionary in it has keys that are not strings")
        self.stack[-1].update(zip(keys, values, strict=True))
