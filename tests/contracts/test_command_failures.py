from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

COMMANDS = [[sys.executable, "-m", "contracts"], [str(Path(sys.executable).with_name("solo60")), "contracts"]]
FULL_DISK = Path("/dev/full")


@pytest.fixture(params=COMMANDS, ids=["python", "solo60"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Return a command that checks an image with more findings than a pipe holds."""
    file = FileDescriptorProto(name="acme.proto", package="acme.v1", syntax="proto3")
    file.message_type.add(name="Request")
    for number in range(2000):
        service = file.service.add(name=f"Service{number}")
        service.method.add(name="Do", input_type=".acme.v1.Request", output_type=".acme.v1.Request")
    image = tmp_path / "image.binpb"
    image.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    return [*request.param, "check", str(image)]


def test_a_closed_pipe_ends_the_command_in_silence(check: list[str]) -> None:
    """A reader that stops, such as `head`, ends the command without an error message."""
    with subprocess.Popen(check, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait() == 1


@pytest.mark.skipif(not FULL_DISK.exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_sentence(check: list[str]) -> None:
    """Output to a full disk fails with one sentence, and not with the exit code of findings."""
    with FULL_DISK.open("wb") as full:
        done = subprocess.run(check, stdout=full, stderr=subprocess.PIPE, check=False)

    assert (done.returncode, done.stderr) == (2, b"No space left on device.\n")
