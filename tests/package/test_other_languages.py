"""The packages for other languages, which are released together with this one."""

import json
import re
import tomllib
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from canuse_server.api.errors import ErrorReason
from support.tools import ROOT


def test_the_package_for_typescript_has_the_version_and_the_licence_of_this_one() -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    theirs = json.loads((ROOT / "client/typescript/package.json").read_text(encoding="utf-8"))
    assert {name: theirs[name] for name in ("version", "license")} == {
        name: ours[name] for name in ("version", "license")
    }


def test_the_client_for_typescript_names_the_reasons_of_errors() -> None:
    text = (ROOT / "client/typescript/src/client/reasons.ts").read_text(encoding="utf-8")
    assert re.findall(r'^  \| "(\w+)"$', text, re.MULTILINE) == [reason.name for reason in ErrorReason]


def test_the_definitions_build_by_themselves(tmp_path: Path) -> None:
    """`google/rpc/status.proto` was only in a Python package, so that other generators found it missing."""
    protos, image = ROOT / "protos", tmp_path / "image.binpb"
    # Only google/protobuf comes with protoc.
    own = [f"-I{protos}", f"-I{Path(protoc.__file__).parent / '_proto'}", f"--descriptor_set_out={image}"]
    sources = [*(protos / "canuse" / "v1").glob("*.proto"), *(protos / "google" / "rpc").glob("*.proto")]
    assert protoc.main(["protoc", *own, *map(str, sources)]) == 0
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    assert {file.options.go_package for file in files if file.package == "canuse.v1"} == {"canuse/v1;canusev1"}
