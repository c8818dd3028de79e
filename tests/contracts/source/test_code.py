from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from contracts.checks.run import check
from contracts.settings import SettingsError
from contracts.source.code import source_folders
from contracts.workspace import WorkspaceError
from solo60.mesh.v1 import policy_pb2
from tests.support.images import image_of

if TYPE_CHECKING:
    from pathlib import Path

SHOP = """
    name: "acme/{package}/shop-desk.proto" package: "acme.{package}" dependency: "solo60/mesh/v1/policy.proto"
    message_type {{ name: "Sale" }}
    service {{
      name: "Desk"
      method {{
        name: "Sell" input_type: ".acme.{package}.Sale" output_type: ".acme.{package}.Sale"
        options {{ [solo60.mesh.v1.policy] {{ calls: "acme.{package}.Till/Open" }} }}
      }}
    }}
    service {{
      name: "Till"
      method {{
        name: "Open" input_type: ".acme.{package}.Sale" output_type: ".acme.{package}.Sale"
        options {{ [solo60.mesh.v1.policy] {{}} }}
      }}
      method {{ name: "Close" input_type: ".acme.{package}.Sale" output_type: ".acme.{package}.Sale" }}
    }}
    service {{
      name: "Light"
      method {{ name: "Switch" input_type: ".acme.{package}.Sale" output_type: ".acme.{package}.Sale" }}
    }}
"""
CODE = (
    "from generated.acme.till.shop_desk_pb2_grpc import LightStub, TillAsyncStub\n"
    "async def sell(till: TillAsyncStub, light: LightStub):\n"
    "    await light.Switch(request)\n"
    "    await till.Close(request)\n"
)


def shop(package: str) -> FileDescriptorProto:
    """Return a contract with three services in one package, without source info."""
    return text_format.Parse(SHOP.format(package=package), FileDescriptorProto())


def settings(workspace: Path, folders: str) -> None:
    """Write the setting `source-folders`, as TOML."""
    (workspace / "pyproject.toml").write_text(f"[tool.contracts]\nsource-folders = {folders}\n")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Write code in the folder src/shop."""
    (tmp_path / "src/shop").mkdir(parents=True)
    (tmp_path / "src/shop/desk.py").write_text(CODE)
    return tmp_path


def test_the_pattern_gives_the_folder_of_each_service_with_code(workspace: Path) -> None:
    """The services of a folder are found by the short names of their packages. Others have no Python code."""
    settings(workspace, '"src/{service}"')
    (workspace / "src/door").mkdir()
    (workspace / "src/door/main.go").touch()

    folders = source_folders(workspace, image_of(shop("shop"), shop("shop.v2"), shop("door"), shop("sign")))

    ((folder, services),) = folders.items()
    assert folder == workspace / "src/shop"
    assert {service.file.package for service in services} == {"acme.shop", "acme.shop.v2"}


def test_without_the_setting_no_code_is_compared(workspace: Path) -> None:
    """A workspace that does not say where its code is has no code to compare."""
    assert source_folders(workspace, image_of(shop("shop"))) == {}


@pytest.mark.parametrize("pattern", ["src/{servce}", "source/{service}", "src/{service}/code"])
def test_a_pattern_without_any_code_is_reported(workspace: Path, pattern: str) -> None:
    """A pattern that leads to no code of any service is an error that shows the pattern."""
    settings(workspace, f'"{pattern}"')

    with pytest.raises(WorkspaceError) as raised:
        source_folders(workspace, image_of(shop("shop")))

    assert str(raised.value) == (
        f'pyproject.toml: source-folders: no service has Python code in "{pattern}"; {{service}} is the last part of '
        'its package before the version, such as "orders" in acme.orders.v1.'
    )


def test_a_malformed_pattern_is_reported(workspace: Path) -> None:
    """A pattern that is not a text is an error that names the setting."""
    settings(workspace, '["src"]')

    with pytest.raises(SettingsError, match="source-folders, a text"):
        source_folders(workspace, image_of(shop("shop")))


def test_contracts_without_lines_are_compared_with_code(workspace: Path) -> None:
    """The services of a folder are compared together. Methods of services without any policy need no declaration."""
    settings(workspace, '"src/{service}"')
    image = image_of(shop("shop"), shop("till"))

    found = check(image, folders=source_folders(workspace, image))

    assert {(each.id, each.file, each.line) for each in found if each.id.startswith("CALLS")} == {
        ("CALLS_UNUSED", "acme/shop/shop-desk.proto", 0),
        ("CALLS_UNDECLARED", str(workspace / "src/shop/desk.py"), 4),
    }


def test_a_method_without_code_makes_no_calls(workspace: Path) -> None:
    """The calls of a method that is only a contract need no code."""
    settings(workspace, '"src/{service}"')
    contract = shop("shop")
    contract.service[0].method[0].options.Extensions[policy_pb2.policy].contract_only = True
    image = image_of(contract)

    found = check(image, folders=source_folders(workspace, image))

    assert "CALLS_UNUSED" not in {each.id for each in found}
