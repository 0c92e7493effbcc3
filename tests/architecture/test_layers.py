"""Imports point down the list of layers only, and each layer keeps out of the others' business."""

import ast
from pathlib import Path

import pytest

from tests.architecture.repository import CLIENT, ROOT, SERVICE, imported, imports, modules, within

# What each layer of the service may import of the others, from top to bottom. Folders and single modules alike.
LAYERS = {
    "__main__": ("cli",),
    "cli": ("settings", "server", "telemetry", "access", "rpc", "log", "stores", "contract"),
    "server": ("settings", "telemetry", "rpc", "access", "log", "stores", "contract"),
    "settings": ("contract",),
    "telemetry": ("rpc", "log", "stores.protocol", "contract"),
    "rpc": ("settings", "access", "log", "contract"),
    "access": ("contract",),
    "log": ("stores.protocol", "stores.stream_protocol", "contract"),
    "stores": ("contract",),
    "contract": (),
}
GRPC = ("grpc", "grpc_health", "grpc_reflection", "grpc_status", "google.rpc")
SQL = ("apsw", "psycopg", "psycopg_pool", "sqlite3")
OUTSIDE_WORLD = (
    "asyncio",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "subprocess",
)


def layer_of(path: Path) -> str:
    return path.relative_to(SERVICE).parts[0].removesuffix(".py")


def test_every_part_of_the_service_is_a_known_layer() -> None:
    parts = {layer_of(path) for path in modules(SERVICE)} - {"__init__"}
    assert parts <= LAYERS.keys(), "a new layer takes its place in LAYERS, and in the design"


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_point_down(layer: str) -> None:
    allowed = (layer, *LAYERS[layer])
    others = tuple(f"factstr_server.{other}" for other in LAYERS)
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(SERVICE)
        if layer_of(path) == layer
        for name in imports(path)
        if within(name, others) and not within(name, tuple(f"factstr_server.{below}" for below in allowed))
    ] == []


@pytest.mark.parametrize(
    ("layers", "foreign"),
    [
        pytest.param({"access", "log", "stores", "contract", "settings"}, GRPC, id="gRPC stays at the edge"),
        pytest.param(LAYERS.keys() - {"stores"}, SQL, id="SQL stays in the stores"),
        pytest.param({"contract"}, OUTSIDE_WORLD, id="the contract is pure"),
        pytest.param(set(LAYERS), ("factstr.aio", "factstr.cli"), id="the service is nobody's client"),
    ],
)
def test_foreign_libraries_stay_where_they_belong(layers: set[str], foreign: tuple[str, ...]) -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(SERVICE)
        if layer_of(path) in layers
        for name in imports(path)
        if within(name, foreign) or (foreign is GRPC and "_pb2_grpc" in name)
    ] == []


def test_every_form_of_import_is_seen() -> None:
    source = """
import grpc.aio as edge
from factstr_server import rpc
from . import query
from ..stores.memory import MemoryStore
if TYPE_CHECKING:
    from .matching import matches
def late():
    import apsw, os
"""
    assert set(imported(source, ("factstr_server", "contract"))) == {
        "grpc.aio",
        "factstr_server.rpc",
        "factstr_server.contract.query",
        "factstr_server.stores.memory.MemoryStore",
        "factstr_server.contract.matching.matches",
        "apsw",
        "os",
    }


def test_the_client_knows_nothing_of_the_server() -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(CLIENT)
        for name in imports(path)
        if within(name, ("factstr_server",))
    ] == []


def test_every_module_says_what_it_owns() -> None:
    assert [
        str(path.relative_to(ROOT))
        for path in modules()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_every_folder_of_the_service_is_a_package_that_gives_its_reason() -> None:
    folders = {path.parent for path in modules(SERVICE)}
    assert [
        str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()
    ] == []


def test_no_module_is_named_for_nothing() -> None:
    nothing = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
    assert [
        str(path.relative_to(ROOT))
        for path in modules()
        for part in path.relative_to(ROOT).with_suffix("").parts
        if nothing & set(part.split("_"))
    ] == []
