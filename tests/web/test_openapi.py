"""Does the service keep what its OpenAPI document says, whatever is sent, and tell every error as a problem document?

schemathesis makes requests of the document: such as fit it, such as break it, and such as no client would send.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from recsys.web.app import create_app
from recsys.web.guards import Tokens
from tests.serving.small_shop import CONTEXT
from tests.serving.test_resolver import world
from tests.web.test_app import PROBLEM, SECRET, service

EXAMPLES: Final = 60
OPEN: Final = create_app(service(world(changes={"context": CONTEXT})))
GUARDED: Final = create_app(service(tokens=Tokens(read=SECRET, write=SECRET)))
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _schema(app: FastAPI) -> schemathesis.BaseSchema:
    config = SchemathesisConfig.from_dict({"generation": {"deterministic": True}})
    return schemathesis.openapi.from_dict(app.openapi(), config=config)


@contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    """Serve an application on loopback until the block ends, and return where."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # from here on a connection waits for the server
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def open_service() -> Iterator[str]:
    with _served(OPEN) as where:
        yield where


@pytest.fixture(scope="module")
def guarded_service() -> Iterator[str]:
    with _served(GUARDED) as where:
        yield where


def errors_are_problems(context: CheckContext, response: Response, case: Case) -> None:
    """Every refusal is a problem document; one of a body names the field that is wrong."""
    del context
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [PROBLEM], response.headers["content-type"]
    told = response.json()
    assert told["status"] == response.status_code
    assert told["detail"]
    assert told["request_id"]
    if response.status_code == 422:
        assert all(isinstance(error["field"], str) and error["rule"] for error in told["errors"]), case
        assert told["errors"]


@_schema(OPEN).parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_is_answered_as_the_document_says(case: Case, open_service: str) -> None:
    checks = [*CHECKS, errors_are_problems]
    if case.path.startswith("/v1/") and _wrong_body(case):
        checks.append(negative_data_rejection)
    case.call_and_validate(base_url=open_service, checks=checks)


@_schema(GUARDED).parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_nobody_comes_in_without_a_token(case: Case, guarded_service: str) -> None:
    case.headers.pop("Authorization", None)
    response = case.call(base_url=guarded_service)
    case.validate_response(response, checks=[*CHECKS, errors_are_problems])
    if case.path not in {"/healthz", "/readyz"}:
        declared = case.method.lower() in OPEN.openapi()["paths"][case.path]
        assert response.status_code == (401 if declared else 405)


def _wrong_body(case: Case) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE


def test_the_document_names_what_every_path_answers() -> None:
    document = OPEN.openapi()
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/recommend", "/v1/events"):
        responses = document["paths"][path]["post"]["responses"]
        assert {"200", "401", "413", "422", "503"} <= set(responses)
        assert PROBLEM in responses["422"]["content"]
    assert "Problem" in document["components"]["schemas"]
    context = document["components"]["schemas"]["RecommendRequest"]["properties"]["context"]
    assert context["maxProperties"] == 32
    assert context["additionalProperties"] is False
    assert "context" not in document["components"]["schemas"]["RecommendRequest"]["required"]
    with pytest.raises(KeyError):
        document["components"]["schemas"]["HTTPValidationError"]
