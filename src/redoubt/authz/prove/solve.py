"""Two solvers: Z3 judges, cvc5 checks what Z3 found impossible."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import cvc5
import z3
from attrs import frozen


@frozen
class Answer:
    """What a query came to: `possible` is None where no solver could tell within its time; then `why` says so."""

    possible: bool | None
    model: Any = None
    why: str = ""


def solve(assertions: Iterable[Any], deadline: float) -> Answer:
    """Ask whether the assertions can hold together; `deadline` is on the monotonic clock.

    Only "impossible" is asked twice: what is possible shows itself by its model, which is replayed.
    """
    solver = z3.Solver()
    solver.add(*assertions)
    left = _left(deadline)
    if left <= 0:
        return Answer(None, why="out of time")
    solver.set("timeout", left)
    found = solver.check()
    if found == z3.sat:
        return Answer(True, solver.model())
    if found == z3.unknown:
        return Answer(None, why=f"z3: {solver.reason_unknown()}")
    left = _left(deadline)
    if left <= 0:
        return Answer(None, why="out of time")
    second = _second(solver.to_smt2(), left)
    if second == "unsat":
        return Answer(False)
    return Answer(None, why=f"z3 says unsat, cvc5 {second}")


def _second(text: str, milliseconds: int) -> str:
    solver = cvc5.Solver(cvc5.TermManager())
    solver.setOption("tlimit-per", str(milliseconds))
    solver.setOption("strings-exp", "true")
    solver.setLogic("ALL")
    parser = cvc5.InputParser(solver)
    parser.setStringInput(cvc5.InputLanguage.SMT_LIB_2_6, text, "query")
    said = ""
    try:
        while True:
            command = parser.nextCommand()
            if command.isNull():
                return said.strip() or "nothing"
            said += command.invoke(solver, parser.getSymbolManager())
    except RuntimeError as error:
        return f"failed: {error}"


def _left(deadline: float) -> int:
    return int((deadline - time.monotonic()) * 1000)
