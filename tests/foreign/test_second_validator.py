from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import protovalidate
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message_factory import GetMessageClass

from buf.validate import validate_pb2
from contracts.services import our_files
from contracts.violations import violations_of
from tests.foreign.boundaries import messages_around

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message

SEED, MIXED = 22, 20
TYPES: dict[str, Any] = {
    descriptor.full_name: GetMessageClass(descriptor)
    for file in our_files()
    for descriptor in file.message_types_by_name.values()
}
SCRIPT = Path(__file__).parent / "validate.mjs"


@pytest.mark.requirement("C3")
def test_a_javascript_validator_finds_the_same_violations(node_folder: Path, tmp_path: Path) -> None:
    """@bufbuild/protovalidate finds the same violations as the servers in every sample message.

    The sample contains a valid message of every type and breaks every CEL rule of our contracts.
    """
    messages = list(dict.fromkeys((m.DESCRIPTOR.full_name, m.SerializeToString(deterministic=True)) for m in sample()))

    theirs = violations_by_node(node_folder, tmp_path, messages)

    different, broken, with_valid_message = [], set[str](), set[str]()
    for (name, data), their in zip(messages, theirs, strict=True):
        message = TYPES[name].FromString(data)
        mine = violations_in(message)
        if mine:
            broken |= {rule for _, rule in mine}
        else:
            with_valid_message.add(name)
        if mine != their:
            different.append(f"{name} {message!r}: Python {mine}, JavaScript {their}")
    assert with_valid_message == set(TYPES), (
        "no valid message of these types: add texts to TEXTS that their patterns accept"
    )
    assert broken >= our_rules(), "no message breaks these rules"
    assert not different, "\n".join([f"{len(different)} of {len(messages)}", *different[:20]])


def sample() -> Iterator[Message]:
    """Yield sample messages of every type of our contracts."""
    random = Random(SEED)  # noqa: S311 - no secret
    for message_type in TYPES.values():
        yield from messages_around(message_type.DESCRIPTOR, random, MIXED)


def our_rules() -> set[str]:
    """Return the ids of the CEL rules in our contracts."""
    return {
        rule.id
        for message_type in TYPES.values()
        for rules in (
            message_type.DESCRIPTOR.GetOptions().Extensions[validate_pb2.message],
            *(field.GetOptions().Extensions[validate_pb2.field] for field in message_type.DESCRIPTOR.fields),
        )
        for rule in rules.cel
    }


def violations_in(message: Message) -> list[tuple[str, str]]:
    """Return the field and the rule of each violation, sorted, or one error if a rule cannot be evaluated."""
    try:
        found = protovalidate.collect_violations(message)
    except protovalidate.EvaluationError:
        return [("", "error")]
    rules = [validate_pb2.Violation.FromString(each.proto.to_binary()).rule_id for each in found]
    return sorted(zip((each.field for each in violations_of(message)), rules, strict=True))


def violations_by_node(node_folder: Path, folder: Path, messages: list[tuple[str, bytes]]) -> list[Any]:
    """Validate all messages with the second implementation, in one process."""
    image = folder / "image.binpb"
    image.write_bytes(descriptor_set().SerializeToString())
    script = Path(shutil.copy(SCRIPT, node_folder))
    lines = "".join(json.dumps([name, b64encode(data).decode()]) + "\n" for name, data in messages)
    done = subprocess.run(["node", script, image], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [[("", "error")] if "error" in each else sorted(map(tuple, each["violations"])) for each in answers]


def descriptor_set() -> FileDescriptorSet:
    """Return our contracts and their imports, with each file after its imports."""
    files: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for imported in file.dependencies:
            add(imported)
        files.setdefault(file.name, file)

    for file in our_files():
        add(file)
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found
