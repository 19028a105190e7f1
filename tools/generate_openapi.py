"""Generate the OpenAPI document of the HTTP port from protos/, with every comment of what can be called.

    python -m tools.generate_openapi [--check]

With `--check` nothing is written: it fails if the committed document differs from the generated one.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from tools.formatting import ROOT
from tools.generate_protos import run_protoc
from tools.openapi_components import ERROR, EXAMPLES, PARAMETERS
from tools.openapi_schemas import REF, comments, schemas

from canuse_server.api.methods import Method, method_of
from canuse_server.api.scopes import SCOPES

DOCUMENT: Final = ROOT / "server/canuse_server/transport/http/reference/openapi.json"
STREAM: Final = "application/connect+json"
DESCRIPTION: Final = """May this user use this feature now?

Each method is a `POST` with its request as JSON, by the Connect protocol. Methods that only read can be called with \
`GET` as well. Fields may be named as here, `userId`, or as in the definitions, `user_id`."""


def document() -> dict[str, Any]:
    """Return the document."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.binpb")
        run_protoc("--include_imports", "--include_source_info", f"--descriptor_set_out={image}")
        files = FileDescriptorSet.FromString(image.read_bytes())
    about, pool = comments(files), DescriptorPool()
    for file in files.file:
        pool.Add(file)
    services = [pool.FindServiceByName(name) for name in dict.fromkeys(path.split("/")[1] for path in SCOPES)]
    methods = [method for service in services for method in service.methods]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "canuse",
            "version": "v1",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {}],
        "tags": [_tag(service, about) for service in services],
        "paths": {f"/{m.containing_service.full_name}/{m.name}": dict(_operations(m, about)) for m in methods},
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key or a user token. A server without keys on the loopback needs none.",
                }
            },
            "parameters": PARAMETERS,
            "responses": {"Error": _error_response()},
            "schemas": {
                "Error": ERROR,
                **schemas([m.input_type for m in methods], [m.output_type for m in methods], about),
            },
        },
    }


def _tag(service: ServiceDescriptor, about: Mapping[str, str]) -> dict[str, str]:
    return {"name": service.name, "description": about.get(service.full_name, "")}


def _error_response() -> dict[str, Any]:
    return {
        "description": "The call failed.",
        "headers": {
            "Retry-After": {
                "description": "After how many seconds to try again, where the server knows.",
                "schema": {"type": "integer"},
            }
        },
        "content": _json(REF + "Error"),
    }


def _operations(descriptor: MethodDescriptor, about: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what can be done at the path of a method: the name of the HTTP method, and how."""
    method = method_of(descriptor)
    request, example = REF + descriptor.input_type.full_name, _example(descriptor.input_type)
    media_type = STREAM if method.streams else "application/json"
    yield (
        "post",
        {
            **_described(descriptor, method, about, ""),
            "parameters": [_parameter("timeout"), *([_parameter("durability")] if method.writes else [])],
            "requestBody": {"required": True, "content": _json(request, media_type, example)},
            "responses": _responses(descriptor, media_type),
        },
    )
    if not (method.writes or method.streams):
        message = {"name": "message", "in": "query", "required": True, "description": "The request."}
        yield (
            "get",
            {
                **_described(descriptor, method, about, "_get"),
                "parameters": [
                    _parameter("timeout"),
                    _parameter("encoding"),
                    {**message, "content": _json(request, example=example)},
                ],
                "responses": _responses(descriptor, media_type),
            },
        )


def _described(descriptor: MethodDescriptor, method: Method, about: Mapping[str, str], suffix: str) -> dict[str, Any]:
    service, text = descriptor.containing_service, about.get(descriptor.full_name, "")
    scopes = " or ".join(f"`{scope}`" for scope in method.scopes)
    stream = ["The answer is a stream of messages, each in an envelope of five bytes."] if method.streams else []
    return {
        "tags": [service.name],
        "operationId": f"{service.name}_{descriptor.name}{suffix}",
        "summary": descriptor.name,
        "description": "\n\n".join([text, *stream, f"Scope of the key: {scopes}."]),
    }


def _responses(descriptor: MethodDescriptor, media_type: str) -> dict[str, Any]:
    answer = {"description": "The answer.", "content": _json(REF + descriptor.output_type.full_name, media_type)}
    return {"200": answer, "default": {"$ref": "#/components/responses/Error"}}


def _json(ref: str, media_type: str = "application/json", example: Any = None) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": ref}, **({} if example is None else {"example": example})}}


def _parameter(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/parameters/{name}"}


def _example(message: Descriptor) -> dict[str, Any]:
    """Return an example of a request: the fields that nearly every caller sends."""
    shown: dict[str, Any] = {}
    for field in message.fields:
        value = EXAMPLES.get(f"{message.full_name}.{field.json_name}", EXAMPLES.get(field.json_name))
        if value is None and field.message_type is not None and field.message_type.file.package == message.file.package:
            value = None if field.message_type.GetOptions().map_entry else _example(field.message_type) or None
            value = [value] if value is not None and field.is_repeated else value
        if value is not None:
            shown[field.json_name] = value
    return shown


def main() -> None:
    """Generate the document, and write or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if not check:
        DOCUMENT.write_text(text, encoding="utf-8")
    elif not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != text:
        sys.exit(f"{DOCUMENT.relative_to(ROOT)} differs from protos/; run `make protos`")


if __name__ == "__main__":
    main()
