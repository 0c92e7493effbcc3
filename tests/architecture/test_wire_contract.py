"""The .proto files document themselves, lean on nothing, and the stubs run wherever the client promises."""

import re
import tomllib

from tests.architecture.repository import GENERATED, ROOT

PROTOS = sorted((ROOT / "proto").rglob("*.proto"))
OPTIONS = ("csharp_namespace", "go_package", "java_multiple_files", "java_package")
DECLARATION = re.compile(
    r"""\s*(
        (message|enum|service|rpc|oneof)\s+\w+
      | ((optional|repeated)\s+)?[\w.]+(<.*>)?\s+\w+\s*=\s*\d+   # a field
      | [A-Z][A-Z0-9_]*\s*=\s*\d+                                # an enum value
    )""",
    re.VERBOSE,
)


def test_every_element_states_its_law() -> None:
    silent = []
    for proto in PROTOS:
        lines = proto.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("// "), f"{proto.name} does not say what it is for"
        silent += [
            f"{proto.name}:{number + 1}: {line.strip()}"
            for number, line in enumerate(lines)
            if DECLARATION.match(line) and not lines[number - 1].lstrip().startswith("//")
        ]
    assert silent == []


def test_protos_import_nothing_but_timestamps_durations_and_each_other() -> None:
    imported = {
        name for proto in PROTOS for name in re.findall(r'^import .*"(.+)";', proto.read_text(), re.MULTILINE)
    }
    own = {proto.relative_to(ROOT / "proto").as_posix() for proto in PROTOS}
    assert imported - own <= {"google/protobuf/timestamp.proto", "google/protobuf/duration.proto"}


def test_every_proto_fixes_its_package_in_other_languages() -> None:
    missing = [
        (proto.name, option)
        for proto in PROTOS
        for option in OPTIONS
        if not re.search(rf"^option {option} = ", proto.read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_stubs_run_on_the_oldest_libraries_that_the_client_allows() -> None:
    pyproject = tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text(encoding="utf-8"))
    oldest = dict(
        re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(pyproject["project"]["dependencies"]), re.MULTILINE)
    )
    messages, services = sorted(GENERATED.glob("*_pb2.py")), sorted(GENERATED.glob("*_pb2_grpc.py"))
    assert len(messages) == len(services) == len(PROTOS)
    for path in messages:
        assert f"# Protobuf Python Version: {oldest['protobuf']}\n" in path.read_text(), path.name
    for path in services:
        assert f"GRPC_GENERATED_VERSION = '{oldest['grpcio']}.0'\n" in path.read_text(), path.name
