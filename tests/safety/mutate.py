"""Break the safety core on purpose, one small change at a time: the table tests must notice.

After openpilot's ``opendbc/safety/tests/mutation.py``, for Python: the source is parsed, one node
is changed, the module and everything built on it are executed anew in a forked child, and the
table tests run there until the first one fails. A mutant that no test notices survives; every
survivor must stand in ``ALLOWED`` with the reason why it may live, and nothing else may.

    python tests/safety/mutate.py            # all
    python tests/safety/mutate.py --sample 80
    python tests/safety/mutate.py --file gate --list
"""

from __future__ import annotations

import argparse
import ast
import gc
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import product
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORE = ROOT / "services" / "safety" / "core"
PACKAGE = "services.safety.core"
MODULES = ("plain", "limits", "state", "modes", "rules", "gate", "fallback")
"""In the order in which they import one another."""
TESTS = {
    "plain": ("state", "limits"),
    "limits": ("limits", "power"),
    "state": ("state", "relay"),
    "modes": ("modes",),
    "rules": ("power", "relay", "gate"),
    "gate": ("gate", "fallback"),
    "fallback": ("fallback",),
}
"""The tables most likely to notice come first; all of them run in the end."""
CPU_LIMIT_S = 3
"""A mutant that computes longer is caught in a loop and counts as noticed."""

ALLOWED: dict[str, str] = {
    "rules.Case.positive: return self.proposal.value > 0 -> return self.proposal.value >= 0": (
        "0 is inactive and is answered before any rule; an export limit of 0 has no sign"
    ),
    "rules.Case.positive: return self.proposal.value > 0 -> return self.proposal.value > -1": (
        "the same"
    ),
    "rules.draw_w: granted = lease.value if lease is not None and now_s < lease.until_s else 0 "
    "-> granted = lease.value if lease is not None and now_s < lease.until_s else -1": (
        "no lease draws nothing: no device reckons -1 mA, W or relay as anything but 0 W"
    ),
    "rules.export_maximum: return Evidence(rule='export-maximum', value=case.proposal.value, "
    "limit=limit, allowed=limit, ok=case.asked <= limit) -> return Evidence("
    "rule='export-maximum', value=case.proposal.value, limit=limit, allowed=limit, "
    "ok=case.asked < limit)": "the maximum itself is inactive and is answered before any rule",
    "gate._least_useful: return 1 if isinstance(device, BatteryLimits | SwitchLimits) else 0 -> "
    "return 1 if isinstance(device, BatteryLimits | SwitchLimits) else -1": (
        "an export limit below 0 is refused by export-range, so 0 and -1 bar nothing alike"
    ),
}
"""Survivors that may live: what was changed, and why no test can or should tell."""

SWAPS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.FloorDiv,),
    ast.FloorDiv: (ast.Mult,),
}
CALLS = {"min": "max", "max": "min", "all": "any", "any": "all"}
REMOVABLE = (ast.AugAssign, ast.Expr, ast.If, ast.For, ast.Raise, ast.Continue)
"""And assignments that change a name; removing another one is a NameError, which proves nothing."""


@dataclass(frozen=True)
class Mutant:
    """One change: module, function it is in, what became of what, and the changed tree."""

    module: str
    place: str
    before: str
    after: str
    line: int
    tree: ast.Module

    @property
    def name(self) -> str:
        """Identity without line numbers, so that the list of allowed ones does not rot."""
        return f"{self.module}.{self.place}: {self.before} -> {self.after}"


def sites(module: str) -> list[Callable[[], Mutant]]:
    """Every mutant of a module of the core, each made only when it is called for."""
    source = (CORE / f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    places = dict(_places(tree, "module"))
    statements = dict(_statements(tree, tree))
    order = {node: index for index, node in enumerate(ast.walk(tree))}
    spared = set(_spared(tree))

    def make(node: ast.AST, change: Callable[[Any], None]) -> Mutant:
        changed = ast.parse(source)
        nodes = list(ast.walk(changed))
        target, statement = nodes[order[node]], nodes[order[statements[node]]]
        before = _headline(statement)
        change(target)
        # A node that becomes one of another kind is put in its place in the tree.
        replaced = getattr(target, "becomes", None)
        if replaced is not None:
            changed = _Put(target, replaced).visit(changed)
        after = _headline(replaced if target is statement and replaced else statement)
        ast.fix_missing_locations(changed)
        place = places.get(node, "module")
        return Mutant(module, place, before, after, getattr(node, "lineno", 0), changed)

    return [
        partial(make, node, change)
        for node in order
        if node not in spared
        for change in _changes(node)
    ]


class _Put(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        return self.new if node is self.old else super().generic_visit(node)


def _spared(tree: ast.Module) -> Iterator[ast.AST]:
    """Options of @dataclass (how a record is built) and assertions (which only narrow types)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                yield from ast.walk(decorator)
        if isinstance(node, ast.Assert):
            yield from ast.walk(node)


def _statements(node: ast.AST, inside: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """Every node with the innermost statement it belongs to."""
    here = node if isinstance(node, ast.stmt) else inside
    yield node, here
    for child in ast.iter_child_nodes(node):
        yield from _statements(child, here)


def _headline(node: ast.AST) -> str:
    """A statement in one line; of a compound one its head."""
    return ast.unparse(node).splitlines()[0]


def _places(node: ast.AST, place: str) -> Iterator[tuple[ast.AST, str]]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.ClassDef)
        inside = child.name if named else place
        if named and place != "module":
            inside = f"{place}.{child.name}"
        yield child, inside
        yield from _places(child, inside)


def _changes(node: ast.AST) -> list[Callable[[Any], None]]:
    """The changes that apply to a node, each as an action on a copy of it."""
    if isinstance(node, ast.Compare):
        return [
            _set_operator(at, other)
            for at, operator in enumerate(node.ops)
            for other in SWAPS.get(type(operator), ())
        ]
    if isinstance(node, ast.BoolOp):
        drops = [_drop_operand(at) for at in range(len(node.values))]
        return [_set("op", SWAPS[type(node.op)][0]()), *drops]
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        return [_set("op", SWAPS[type(node.op)][0]())]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        return [lambda item: _become(item, item.operand)]
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        return [_set("value", not node.value)]
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return [_set("value", node.value + 1), _set("value", node.value - 1)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
        return [lambda item: setattr(item.func, "id", CALLS[item.func.id])]
    if isinstance(node, ast.IfExp):
        return [] if isinstance(node.test, ast.Compare) else [_negate]
    if isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant | None):
        return [_set("value", None)]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return []  # a docstring
    if isinstance(node, REMOVABLE) or (isinstance(node, ast.Assign) and _changes_a_name(node)):
        removed = [lambda item: _become(item, ast.Pass())]
        turned = isinstance(node, ast.If) and not isinstance(node.test, ast.Compare)
        return [*removed, _negate] if turned else removed
    return []


def _changes_a_name(node: ast.Assign) -> bool:
    targets = {item.id for item in ast.walk(node.targets[0]) if isinstance(item, ast.Name)}
    return any(isinstance(item, ast.Name) and item.id in targets for item in ast.walk(node.value))


def _set(field: str, value: Any) -> Callable[[Any], None]:
    return lambda item: setattr(item, field, value)


def _set_operator(at: int, operator: type[ast.AST]) -> Callable[[Any], None]:
    return lambda item: item.ops.__setitem__(at, operator())


def _drop_operand(at: int) -> Callable[[Any], None]:
    def drop(item: Any) -> None:
        del item.values[at]
        if len(item.values) == 1:
            _become(item, item.values[0])

    return drop


def _negate(item: Any) -> None:
    item.test = ast.UnaryOp(op=ast.Not(), operand=item.test)


def _become(item: Any, other: ast.AST) -> None:
    item.becomes = other


# Running.


class Bench:
    """Compiled core and tests, to be executed again and again with one module changed."""

    def __init__(self) -> None:
        for folder in (ROOT, HERE):
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
        self.core = {name: _compiled(CORE / f"{name}.py") for name in MODULES}
        self.tests = {name: _compiled(HERE / f"{name}.py") for name in _tables()}
        self.house = _compiled(HERE / "safety_house.py")
        import_module("pytest")  # once here instead of once a child
        for name in MODULES:
            import_module(f"{PACKAGE}.{name}")
        gc.disable()
        gc.freeze()

    def noticed_by(self, mutant: Mutant | None) -> str | None:
        """Name of the first test that fails with the mutant in place; None when none does."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.write(write, (self._trial(mutant) or "").encode()[:4_000])
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            told = pipe.read().decode()
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
            raise RuntimeError(f"the bench itself broke on {mutant and mutant.name}")
        return f"signal {os.WTERMSIG(status)}" if status else told or None

    def _trial(self, mutant: Mutant | None) -> str | None:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 1))
        first = 0 if mutant is None else MODULES.index(mutant.module)
        try:
            for name in MODULES[first:]:
                code = self.core[name]
                if mutant is not None and name == mutant.module:
                    code = compile(mutant.tree, f"<mutant of {name}>", "exec")
                _execute(f"{PACKAGE}.{name}", code)
            _execute("safety_house", self.house)
        except BaseException as error:
            return f"import: {error!r}"
        likely = () if mutant is None else TESTS[mutant.module]
        first = [name for name in map("test_safety_{}".format, likely) if name in self.tests]
        for name in dict.fromkeys((*first, *sorted(self.tests))):
            running = "import"
            try:
                for label, test in cases(_execute(name, self.tests[name])):
                    running = label
                    test()
            except BaseException as error:
                return f"{name}.{running}: {type(error).__name__}"
        return None


def _tables() -> set[str]:
    return {f"test_safety_{name}" for names in TESTS.values() for name in names}


def _compiled(path: Path) -> CodeType:
    return compile(path.read_text(encoding="utf-8"), str(path), "exec")


def _execute(name: str, code: CodeType) -> ModuleType:
    module = ModuleType(name)
    module.__file__ = code.co_filename
    sys.modules[name] = module
    exec(code, module.__dict__)
    return module


def cases(module: ModuleType) -> Iterator[tuple[str, Callable[[], None]]]:
    """Every test function of a module with its parameters; the tables use no fixtures."""
    for name, function in list(vars(module).items()):
        if not name.startswith("test_"):
            continue
        tables = [mark.args for mark in getattr(function, "pytestmark", ())]
        for rows in product(*(_rows(*table) for table in tables)):
            values = {key: value for row in rows for key, value in row.items()}
            yield name, lambda function=function, values=values: function(**values)


def _rows(names: str | tuple[str, ...], values: list[Any]) -> list[dict[str, Any]]:
    if isinstance(names, str):
        return [{names: value} for value in values]
    return [dict(zip(names, row, strict=True)) for row in values]


def main(arguments: list[str] | None = None) -> int:
    """Run mutants; 0 when exactly the allowed ones survive."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", choices=MODULES, action="append", help="only this module")
    parser.add_argument("--sample", type=int, help="so many, drawn with a fixed seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="tell every mutant and its fate")
    options = parser.parse_args(arguments)

    bench = Bench()
    unbroken = bench.noticed_by(None)
    if unbroken is not None:
        print(f"the tables fail on the unbroken core: {unbroken}")
        return 2
    found = [item for name in options.file or MODULES for item in sites(name)]
    complete = options.file is None and options.sample is None
    if options.sample is not None:
        found = random.Random(options.seed).sample(found, min(options.sample, len(found)))

    survivors, names = [], set()
    for make in found:
        mutant = make()
        names.add(mutant.name)
        killer = bench.noticed_by(mutant)
        if options.list:
            print(f"{killer or 'SURVIVED'} | {mutant.name}")
        if killer is None:
            survivors.append(mutant)
        elif mutant.name in ALLOWED:
            print(f"allowed, but noticed by {killer}; take it off the list: {mutant.name}")
            return 1
    unjustified = [item for item in survivors if item.name not in ALLOWED]
    gone = sorted(set(ALLOWED) - names) if complete else []
    for item in unjustified:
        print(f"SURVIVED services/safety/core/{item.module}.py:{item.line} {item.name}")
    for name in gone:
        print(f"allowed, but no such mutant any more: {name}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime + own.ru_utime + own.ru_stime
    print(
        f"{len(found)} mutants, {len(found) - len(survivors)} noticed, "
        f"{len(survivors) - len(unjustified)} allowed to live, {len(unjustified)} not; "
        f"{cpu_s:.0f} s CPU"
    )
    return 1 if unjustified or gone else 0


if __name__ == "__main__":
    sys.exit(main())
