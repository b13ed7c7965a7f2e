# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom, and what nobody may call, read from the syntax trees.

The rules are the architecture's: light rooms run inside Blender on numpy alone, the service and the add-on
know only the library, torch stays out of the service's front process, and nothing unpickles or evaluates text.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CHECKED = ("__init__.py", "run.py", "interngs", "backend", "blender_addon", "tools", "benchmarks", "examples")

STANDARD_LIBRARY = frozenset(sys.stdlib_module_names)
BLENDER = frozenset({"bpy", "bpy_extras", "bmesh", "blf", "gpu", "gpu_extras", "mathutils", "addon_utils", "bl_ui",
                     "imbuf", "freestyle", "idprop"})
OWN = frozenset({"interngs", "backend", "blender_addon"})
PICKLES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"})

# Light rooms, and what each may import beside the standard library and other light rooms.
LIGHT_ROOMS = {
    "interngs/scene": {"numpy"},
    "interngs/formats": {"numpy"},
    "interngs/wire": {"numpy", "msgpack"},
    "interngs/link": {"numpy", "msgpack", "zmq"},
    "interngs/errors.py": {"numpy"},
    "interngs/events.py": {"numpy"},
    "interngs/storage.py": set[str](),
    "interngs/__init__.py": set[str](),
}
# The parts of the service that run in a worker's own process; only they may load torch.
WORKER_SIDE = ("backend/worker*", "backend/worker/*", "backend/executor/*worker*")
MAY_PRINT = ("run.py", "tools", "benchmarks", "examples")


@dataclass(frozen=True)
class Import:
    """One import: the absolute dotted name (own modules as seen from the repository root) and how it is written."""

    name: str
    line: int
    relative: bool
    lazy: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


def imports_of(path: PurePosixPath, tree: ast.Module) -> list[Import]:
    """All imports of a file, inside functions too; ``from a import b`` counts as ``a.b``."""
    lazy_nodes = {id(inner) for node in ast.walk(tree)
                  if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) for inner in ast.walk(node)}
    package = list(path.parent.parts)
    found = []
    for node in ast.walk(tree):
        lazy = id(node) in lazy_nodes
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno, False, lazy) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                if node.level - 1 > len(package):
                    base = "OUTSIDE-THE-REPOSITORY"
                else:
                    base = ".".join([*package[:len(package) - node.level + 1], *filter(None, [node.module])])
            found += [Import(".".join(filter(None, [base, alias.name])), node.lineno, node.level > 0, lazy)
                      for alias in node.names]
    return found


def room_of(name: str) -> str | None:
    """The light room that a dotted name of this repository lies in, or None."""
    path = name.replace(".", "/")
    for room in LIGHT_ROOMS:
        stem = room.removesuffix("/__init__.py").removesuffix(".py")
        if path == stem or (stem != "interngs" and path.startswith(stem + "/")):
            return room
    # `from .. import __version__` and the like reach a name of the package itself
    return "interngs/__init__.py" if path.startswith("interngs/__") else None


def matches(path: PurePosixPath, patterns: tuple[str, ...]) -> bool:
    return any(path.match(pattern) for pattern in patterns)


def forbidden_imports(path: PurePosixPath, imports: list[Import]) -> Iterator[tuple[int, str]]:
    """Lines and reasons of the imports that ``path`` may not have."""
    top = path.parts[0]
    light_room = next((room for room in LIGHT_ROOMS if room in (str(path), *map(str, path.parents))), None)
    for item in imports:
        def bad(reason: str, item: Import = item) -> tuple[int, str]:
            return item.line, f"imports {item.name}: {reason}"

        if item.package in PICKLES and item.name != "pickle.UnpicklingError":   # an error to be named, not a reader
            yield bad("pickles run code that others wrote")
        if item.name.startswith("OUTSIDE"):
            yield bad("a relative import leaves the repository")
        if str(path) == "interngs/__init__.py":
            yield bad("Blender executes this file, which imports nothing")
        if str(path) == "__init__.py" and item.package != "__future__" and not item.lazy:
            yield bad("the extension's root imports inside its functions only")
        if top not in ("blender_addon", "benchmarks", "examples") and item.package in BLENDER:
            yield bad("Blender's modules exist in the add-on, in benchmarks and in examples only")
        if top == "interngs" and item.package in ("backend", "blender_addon"):
            yield bad("the library knows neither the service nor the add-on")
        if (top, item.package) in (("backend", "blender_addon"), ("blender_addon", "backend")):
            yield bad("the service and the add-on never import each other")
        if top == "interngs" and item.package == "zmq" and light_room != "interngs/link":
            yield bad("only interngs/link talks to sockets")
        if top == "backend" and item.package in ("torch", "gsplat", "torchvision") and not matches(path, WORKER_SIDE):
            yield bad("torch stays out of the service's front process")
        if light_room is not None and str(path) != "interngs/__init__.py":
            yield from _forbidden_in_blender(item, LIGHT_ROOMS[light_room])
        if top == "blender_addon" or str(path) == "__init__.py":
            yield from _forbidden_in_blender(item, {"numpy", "zmq", "msgpack", "blender_addon", *BLENDER})


def _forbidden_in_blender(item: Import, allowed: set[str]) -> Iterator[tuple[int, str]]:
    """The rules of code that runs inside Blender: few packages, our own only relatively and only light."""
    if item.package in OWN:
        if not item.relative:
            yield item.line, f"imports {item.name}: inside Blender the package has another name; import relatively"
        elif item.package == "interngs" and room_of(item.name) is None:
            yield item.line, f"imports {item.name}: not a light room"
    elif item.package not in allowed | STANDARD_LIBRARY and not item.name.startswith("OUTSIDE"):
        yield item.line, f"imports {item.name}: this room may import {', '.join(sorted(allowed)) or 'nothing'} alone"


def forbidden_calls(path: PurePosixPath, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and reasons of calls and handlers that no file may have."""
    torch_names = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                   for alias in node.names if alias.name == "torch"}
    torch_loads = {alias.asname or alias.name for node in ast.walk(tree)
                   if isinstance(node, ast.ImportFrom) and node.module == "torch"
                   for alias in node.names if alias.name == "load"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "bare except swallows interrupts; name the errors"
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if isinstance(node.func, ast.Name):
            name, owner = node.func.id, None
        elif isinstance(node.func, ast.Attribute):
            name, owner = node.func.attr, node.func.value
        else:
            continue
        if owner is None and name in ("eval", "exec", "__import__"):
            yield node.lineno, f"{name} runs text as code"
        if owner is None and name == "print" and path.parts[0] not in MAY_PRINT:
            yield node.lineno, "print in library code; use logging"
        if name in ("recv_pyobj", "send_pyobj"):
            yield node.lineno, f"{name} pickles"
        is_torch_load = (name in torch_loads) if owner is None else (
            name == "load" and isinstance(owner, ast.Name) and owner.id in torch_names)
        if is_torch_load and not is_constant(keywords.get("weights_only"), True):
            yield node.lineno, "torch.load without weights_only=True unpickles"
        if "allow_pickle" in keywords and not is_constant(keywords["allow_pickle"], False):
            yield node.lineno, "allow_pickle runs code that others wrote"


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def violations(path: PurePosixPath, source: str) -> list[str]:
    """All broken rules of one file, as ``path:line: reason``."""
    tree = ast.parse(source, filename=str(path))
    found = [*forbidden_imports(path, imports_of(path, tree)), *forbidden_calls(path, tree)]
    return [f"{path}:{line}: {reason}" for line, reason in sorted(set(found))]


def reached_at_import(sources: dict[PurePosixPath, str], start: PurePosixPath) -> dict[str, list[str]]:
    """Foreign packages that importing ``start`` loads, each with the chain of own files that leads to it."""
    chains: dict[PurePosixPath, list[str]] = {start: [str(start)]}
    foreign: dict[str, list[str]] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        for item in _parsed_imports(path, sources[path]):
            if item.lazy:
                continue
            own = list(_own_files(item.name, sources))
            if not own:
                foreign.setdefault(item.package, chains[path])
            for target in own:
                if target not in chains:
                    chains[target] = [*chains[path], str(target)]
                    waiting.append(target)
    return foreign


@functools.cache
def _parsed_imports(path: PurePosixPath, source: str) -> list[Import]:
    return imports_of(path, ast.parse(source))


def _own_files(name: str, sources: dict[PurePosixPath, str]) -> Iterator[PurePosixPath]:
    """The repository's files that importing a dotted name executes."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        stem = PurePosixPath(*parts[:end])
        for candidate in (stem / "__init__.py", stem.with_suffix(".py")):
            if candidate in sources:
                yield candidate


def repository_sources() -> dict[PurePosixPath, str]:
    """Text of every checked Python file, by its path from the repository root."""
    files: list[Path] = []
    for name in CHECKED:
        place = REPOSITORY / name
        files += sorted(place.rglob("*.py")) if place.is_dir() else [place] if place.exists() else []
    return {PurePosixPath(file.relative_to(REPOSITORY).as_posix()): file.read_text("utf-8") for file in files}


def test_the_repository_keeps_the_rules() -> None:
    sources = repository_sources()
    assert PurePosixPath("interngs/errors.py") in sources
    broken = [line for path, source in sources.items() for line in violations(path, source)]
    assert not broken, "\n" + "\n".join(broken)


def test_importing_the_front_process_never_loads_torch() -> None:
    sources = repository_sources()
    front = [path for path in sources if path.parts[0] == "backend" and not matches(path, WORKER_SIDE)]
    for path in front:
        foreign = reached_at_import(sources, path)
        for package in ("torch", "gsplat", "bpy"):
            assert package not in foreign, f"{package} is reached by {' -> '.join(foreign[package])}"


@pytest.mark.parametrize(("path", "source", "reason"), [
    ("interngs/__init__.py", "import os", "imports nothing"),
    ("interngs/scene/a.py", "import torch", "numpy alone"),
    ("interngs/scene/a.py", "def f():\n    import scipy", "numpy alone"),
    ("interngs/scene/a.py", "from interngs.errors import InputError", "import relatively"),
    ("interngs/scene/a.py", "from ..render.rasterize import rasterize", "not a light room"),
    ("interngs/scene/a.py", "from .. import pipeline", "not a light room"),
    ("interngs/formats/a.py", "import msgpack", "numpy alone"),
    ("interngs/wire/a.py", "import zmq", "only interngs/link"),
    ("interngs/errors.py", "from .cli import main", "not a light room"),
    ("interngs/geometry/a.py", "import zmq", "only interngs/link"),
    ("interngs/geometry/a.py", "import bpy", "in examples only"),
    ("interngs/geometry/a.py", "from backend import jobs", "neither the service"),
    ("interngs/geometry/a.py", "import blender_addon.ui", "neither the service"),
    ("interngs/a.py", "from ...elsewhere import x", "leaves the repository"),
    ("backend/server.py", "def f():\n    import torch.cuda", "front process"),
    ("backend/executor/local.py", "from torch import cuda", "front process"),
    ("tools/a.py", "import bpy", "in examples only"),
    ("backend/server.py", "import mathutils", "in examples only"),
    ("backend/server.py", "from blender_addon import ui", "never import each other"),
    ("blender_addon/ui/a.py", "from ...backend import jobs", "never import each other"),
    ("blender_addon/ui/a.py", "import interngs.scene.cameras", "import relatively"),
    ("blender_addon/ui/a.py", "from ...interngs import pipeline", "not a light room"),
    ("blender_addon/ui/a.py", "import torch", "alone"),
    ("blender_addon/ui/a.py", "from PIL import Image", "alone"),
    ("__init__.py", "from .blender_addon import register", "inside its functions"),
    ("interngs/a.py", "import pickle", "pickles run code"),
    ("interngs/a.py", "from pickle import loads", "pickles run code"),
    ("interngs/a.py", "socket.recv_pyobj()", "pickles"),
    ("interngs/a.py", "import torch\ntorch.load(p)", "weights_only"),
    ("interngs/a.py", "import torch as t\nt.load(p, weights_only=False)", "weights_only"),
    ("interngs/a.py", "from torch import load\nload(p)", "weights_only"),
    ("interngs/a.py", "np.load(p, allow_pickle=True)", "allow_pickle"),
    ("interngs/a.py", "np.load(p, allow_pickle=flag)", "allow_pickle"),
    ("interngs/a.py", "eval(text)", "runs text"),
    ("interngs/a.py", "exec(text)", "runs text"),
    ("interngs/a.py", "try:\n    f()\nexcept:\n    pass", "bare except"),
    ("interngs/a.py", "print(1)", "print in library code"),
])
def test_each_violation_is_seen(path: str, source: str, reason: str) -> None:
    found = violations(PurePosixPath(path), source)
    assert any(reason in line for line in found), found


@pytest.mark.parametrize(("path", "source"), [
    ("interngs/scene/a.py", "import numpy as np\nfrom ..errors import InputError\nfrom .cameras import Camera"),
    ("interngs/scene/a.py", "from .. import __version__\nfrom ..storage import atomic_write"),
    ("interngs/wire/a.py", "import msgpack\nimport json\nfrom ..scene.gaussians import Gaussians"),
    ("interngs/link/a.py", "import zmq\nfrom ..wire.codec import pack"),
    ("interngs/pipeline.py", "import torch\nfrom .optimise import trainer"),
    ("backend/worker.py", "import torch\nfrom interngs.pipeline import run"),
    ("backend/executor/worker_process.py", "import torch"),
    ("backend/server.py", "import zmq\nfrom interngs.wire import codec"),
    ("blender_addon/ui/a.py", "import bpy, gpu, zmq\nfrom .. import messages\nfrom ...interngs.link import client"),
    ("__init__.py", "def register():\n    from . import blender_addon\n    blender_addon.register()"),
    ("interngs/a.py", "import torch\ntorch.load(p, weights_only=True)\nmodel.eval()\nnp.load(p, allow_pickle=False)"),
    ("tools/a.py", "print(1)"),
    ("interngs/a.py", "from pickle import UnpicklingError"),
])
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert violations(PurePosixPath(path), source) == []


def test_torch_behind_a_package_is_found() -> None:
    sources = {PurePosixPath(path): source for path, source in {
        "backend/server.py": "from interngs.render import front",
        "interngs/__init__.py": "",
        "interngs/render/__init__.py": "from . import kernels",
        "interngs/render/front.py": "",
        "interngs/render/kernels.py": "import torch",
    }.items()}
    chain = reached_at_import(sources, PurePosixPath("backend/server.py"))["torch"]
    assert chain == ["backend/server.py", "interngs/render/__init__.py", "interngs/render/kernels.py"]
    sources[PurePosixPath("backend/server.py")] = "def f():\n    from interngs.render import front"
    assert "torch" not in reached_at_import(sources, PurePosixPath("backend/server.py"))
