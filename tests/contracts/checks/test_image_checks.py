from __future__ import annotations

import subprocess
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.checks.run import check, check_workspace
from contracts.image import Image
from contracts.services import MESH_SERVICES, SERVICES
from contracts.source.code import source_folders
from contracts.workspace import read_image
from tests.support.images import set_with_imports

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.mark.requirement("C1", "C5", "C6")
@pytest.mark.parametrize("folder", [ROOT, ROOT / "examples/acme"], ids=["ours", "acme"])
def test_our_contracts_and_code_have_no_finding(folder: Path) -> None:
    """Our own contracts and those of the example pass every check, and so does the code of the services."""
    assert check_workspace(folder) == []


def test_the_code_of_every_service_is_checked() -> None:
    """The checks compare the code of each of our services with its contract."""
    folders = source_folders(ROOT, read_image(ROOT))

    assert folders.keys() == {ROOT / "services" / name for name in SERVICES}


def test_every_service_is_checked() -> None:
    """The checks examine all our services, so that a new contract is checked too."""
    known = {service.full_name for service in (*SERVICES.values(), *MESH_SERVICES)}

    assert {service.full_name for service in read_image(ROOT).services()} == known | {"solo60.example.v1.EchoService"}


def test_the_checks_start_no_program_but_buf(monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks over our contracts and code start buf twice and no other program."""
    started: list[list[str]] = []
    run = subprocess.run

    def record(command: list[str], **options: object) -> object:
        started.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", record)

    check_workspace(ROOT)

    assert [(Path(command[0]).name, command[1]) for command in started] == [("buf", "build"), ("buf", "ls-files")]


def modules_of(package: str) -> Iterator[str]:
    """Yield the names of the generated modules in an installed package."""
    spec = find_spec(package)
    assert spec is not None
    for folder in map(Path, spec.submodule_search_locations or ()):
        for path in sorted(folder.rglob("*_pb2.py")):
            yield ".".join((package, *path.relative_to(folder).with_suffix("").parts))


@pytest.mark.parametrize(
    ("packages", "services"),
    [
        (
            ("google.api", "google.rpc", "google.type", "google.logging", "google.longrunning"),
            {"google.longrunning.Operations"},
        ),
        (
            ("opentelemetry.proto",),
            {
                f"opentelemetry.proto.collector.{signal}.{version}.{name}Service"
                for signal, version, name in (
                    ("logs", "v1", "Logs"),
                    ("metrics", "v1", "Metrics"),
                    ("profiles", "v1development", "Profiles"),
                    ("trace", "v1", "Trace"),
                )
            },
        ),
        (("grpc_health.v1",), {"grpc.health.v1.Health"}),
        (("grpc_reflection.v1alpha",), {"grpc.reflection.v1alpha.ServerReflection"}),
    ],
    ids=["googleapis", "opentelemetry", "health", "reflection"],
)
def test_foreign_contracts_get_one_finding_for_each_service(packages: tuple[str, ...], services: set[str]) -> None:
    """Contracts without our options get one finding for each service, without a line, and no other."""
    files = []
    for module in (module for package in packages for module in modules_of(package)):
        files.append(FileDescriptorProto())
        import_module(module).DESCRIPTOR.CopyToProto(files[-1])
    image = Image.parse(set_with_imports(files).SerializeToString())

    found = check(image)

    assert {(finding.id, finding.message.partition(":")[0]) for finding in found} == {
        ("POLICY_MISSING", service) for service in services
    }
    assert len(found) == len(services)
    assert {finding.line for finding in found} == {0}
