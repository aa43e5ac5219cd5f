"""Codecs against the engines' own clients, against their documented shapes, and against themselves."""

import base64
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient import grpc, http
from tritonclient.grpc import service_pb2

from harness.protocols.codec import Headers
from harness.protocols.grpc_status import http_status, was_lost
from harness.protocols.oip import HEAD_BYTES
from harness.protocols.table import CODECS

PNG = b"\x89PNG\r\n\x1a\n\x00\xff\xfe\"\\"
ANSWERS = st.binary(max_size=300)
# How a server answers each protocol, written from its specification with nothing of the codecs.
NAMED = {"name": "answer", "datatype": "BYTES", "shape": [1, 1]}


def binary_answer(answer: bytes, extra: bytes = b"") -> bytes:
    tensor = struct.pack("<I", len(answer)) + answer
    outputs = [{"name": "é", "parameters": {"binary_data_size": len(extra)}}] if extra else []
    outputs.append({**NAMED, "parameters": {"binary_data_size": len(tensor)}})
    return json.dumps({"model_name": "model", "outputs": outputs}, ensure_ascii=False).encode() + extra + tensor


def grpc_answer(answer: bytes, raw: bool = True) -> bytes:
    message = service_pb2.ModelInferResponse(model_name="model", id="7")
    message.parameters["queue"].int64_param = 12
    output = message.outputs.add(name="answer", datatype="BYTES", shape=[1, 1])
    if raw:
        message.raw_output_contents.append(struct.pack("<I", len(answer)) + answer)
    else:
        output.contents.bytes_contents.append(answer)
    return bytes(message.SerializeToString())


def b64(answer: bytes) -> str:
    return base64.b64encode(answer).decode()


SERVED: dict[str, Any] = {
    "json": lambda answer: answer,
    "torchserve": lambda answer: answer,
    "sagemaker": lambda answer: answer,
    "tfserving": lambda answer: json.dumps({"predictions": [{"b64": b64(answer)}]}).encode(),
    "vertex": lambda answer: json.dumps({"predictions": [{"b64": b64(answer)}], "deployedModelId": "1"}).encode(),
    "oip-http": lambda answer: json.dumps({"outputs": [
        {**NAMED, "parameters": {"content_type": "base64"}, "data": [[b64(answer)]]}]}).encode(),
    "oip-http-binary": binary_answer,
    "oip-grpc": grpc_answer,
}


def received(name: str, request: bytes) -> bytes:
    """The workload's body as a server of that protocol finds it in a request."""
    if name in ("tfserving", "vertex"):
        [instance] = json.loads(request)["instances"]
        return base64.b64decode(instance["b64"], validate=True)
    if name == "oip-http":
        [tensor] = json.loads(request)["inputs"]
        assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("body", "BYTES", [1, 1])
        assert tensor["parameters"]["content_type"] == "base64"
        return base64.b64decode(tensor["data"][0], validate=True)
    if name == "oip-http-binary":
        [tensor] = json.loads(request[:HEAD_BYTES])["inputs"]
        size = tensor["parameters"]["binary_data_size"]
        assert len(request) == HEAD_BYTES + size
        assert struct.unpack_from("<I", request, HEAD_BYTES)[0] == size - 4
        return request[HEAD_BYTES + 4:]
    if name == "oip-grpc":
        message = service_pb2.ModelInferRequest.FromString(request)
        assert (message.model_name, message.inputs[0].name, list(message.inputs[0].shape)) == ("model", "body", [1, 1])
        return bytes(message.raw_input_contents[0][4:])
    return request


def test_every_codec_is_under_test() -> None:
    assert set(SERVED) == set(CODECS)
    assert all(name == codec.name for name, codec in CODECS.items())


@pytest.mark.parametrize("name", sorted(CODECS))
@given(body=st.binary(max_size=300), answer=ANSWERS)
def test_bodies_and_answers_survive_the_trip(name: str, body: bytes, answer: bytes) -> None:
    codec = CODECS[name]
    assert received(name, codec.wrap(body, "image/png")) == body
    assert codec.unwrap(SERVED[name](answer), {}) == answer


@pytest.mark.parametrize("name", sorted(set(CODECS) - {"json", "torchserve", "sagemaker"}))
@given(noise=st.binary(max_size=80), cut=st.integers(0, 200))
def test_what_is_no_answer_is_said_in_a_sentence(name: str, noise: bytes, cut: int) -> None:
    whole = SERVED[name](b'{"label": 3}')
    for bad in (noise, whole[:cut % len(whole)], b"[]", b"{}", b'{"error": "no such model"}'):
        with pytest.raises(ValueError, match=r"answer|tensor|output|prediction"):
            CODECS[name].unwrap(bad, {})


@pytest.mark.parametrize(("name", "path", "ready"), [
    ("json", "/predict", "/healthz"), ("torchserve", "/predictions/m", "/ping"), ("sagemaker", "/invocations", "/ping"),
    ("vertex", "/predict", "/health"), ("tfserving", "/v1/models/m:predict", "/v1/models/m"),
    ("oip-http", "/v2/models/m/infer", "/v2/models/m/ready"),
    ("oip-grpc", "/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelReady"),
])
def test_routes_are_the_documented_ones(name: str, path: str, ready: str) -> None:
    assert (CODECS[name].path("m"), CODECS[name].ready("m")) == (path, ready)


@pytest.mark.parametrize(("predictions", "answer"), [
    ([{"b64": b64(PNG)}], PNG), (['{"label": 3}'], b'{"label": 3}'), ([["text"]], b"text"),
    ([{"label": 3}], b'{"label": 3}'), ([[0.25, 0.75]], b"[0.25, 0.75]"), ([0.5], b"0.5"),
])
def test_predictions_of_any_json_kind(predictions: list[Any], answer: bytes) -> None:
    assert CODECS["tfserving"].unwrap(json.dumps({"predictions": predictions}).encode(), {}) == answer


def test_oip_json_of_a_plain_string_is_its_text() -> None:
    for data in (["é"], [["é"]], "é"):
        answer = json.dumps({"outputs": [{**NAMED, "data": data}]}).encode()
        assert CODECS["oip-http"].unwrap(answer, {}) == "é".encode()


@pytest.mark.parametrize("headed", [True, False])
def test_a_binary_tensor_behind_others(headed: bool) -> None:
    answer = binary_answer(PNG, extra=b"\x04\x00\x00\x00{{{{")
    headers: Headers = {"inference-header-content-length": str(len(answer) - 4 - len(PNG) - 8)} if headed else {}
    assert CODECS["oip-http-binary"].unwrap(answer, headers) == PNG
    with pytest.raises(ValueError, match="Inference-Header-Content-Length"):
        CODECS["oip-http-binary"].unwrap(answer, {"inference-header-content-length": "9999"})


def test_triton_http_client_says_the_same() -> None:
    tensor = http.InferInput("body", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[PNG]], dtype=object), binary_data=True)
    theirs, length = http.InferenceServerClient.generate_request_body(
        [tensor], outputs=[http.InferRequestedOutput("answer", binary_data=True)])
    ours = CODECS["oip-http-binary"].wrap(PNG, "image/png")
    assert int(CODECS["oip-http-binary"].headers["Inference-Header-Content-Length"]) == HEAD_BYTES
    assert json.loads(ours[:HEAD_BYTES]) == json.loads(theirs[:length])
    assert ours[HEAD_BYTES:] == theirs[length:]
    answer = binary_answer(PNG)
    read = http.InferenceServerClient.parse_response_body(answer, header_length=len(answer) - 4 - len(PNG))
    assert read.as_numpy("answer").tolist() == [[CODECS["oip-http-binary"].unwrap(answer, {})]]


def test_triton_http_client_reads_our_json_as_we_do() -> None:
    answer = json.dumps({"outputs": [{**NAMED, "data": ["a"]}]}).encode()
    read = http.InferenceServerClient.parse_response_body(answer)
    assert read.as_numpy("answer").tolist() == [[CODECS["oip-http"].unwrap(answer, {}).decode()]]
    tensor = http.InferInput("body", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b64(PNG).encode()]], dtype=object), binary_data=False)
    theirs, length = http.InferenceServerClient.generate_request_body(
        [tensor], outputs=[http.InferRequestedOutput("answer", binary_data=False)])
    assert length is None
    [said], [ours] = json.loads(theirs)["inputs"], json.loads(CODECS["oip-http"].wrap(PNG, ""))["inputs"]
    assert ours.pop("parameters") == {"content_type": "base64"}
    assert ours == said


def test_triton_grpc_client_says_the_same() -> None:
    tensor = grpc.InferInput("body", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[PNG]], dtype=object))
    theirs = service_pb2.ModelInferRequest(model_name="model", inputs=[tensor._get_tensor()],
                                           raw_input_contents=[tensor._get_content()],
                                           outputs=[grpc.InferRequestedOutput("answer")._get_tensor()])
    assert service_pb2.ModelInferRequest.FromString(CODECS["oip-grpc"].wrap(PNG, "image/png")) == theirs
    assert service_pb2.ModelReadyRequest.FromString(CODECS["oip-grpc"].probe).name == "model"
    read = grpc.InferResult(service_pb2.ModelInferResponse.FromString(grpc_answer(PNG)))
    assert read.as_numpy("answer").tolist() == [[CODECS["oip-grpc"].unwrap(grpc_answer(PNG), {})]]
    assert CODECS["oip-grpc"].unwrap(grpc_answer(PNG, raw=False), {}) == PNG


def test_triton_says_its_version_over_http_and_grpc() -> None:
    message = service_pb2.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["statistics", "trace"])
    assert CODECS["oip-grpc"].server(message.SerializeToString()) == ("triton", "2.51.0")
    for name in ("oip-http", "oip-http-binary"):
        assert CODECS[name].server(b'{"name": "triton", "version": "2.51.0", "extensions": []}') == ("triton", "2.51.0")
    with pytest.raises(ValueError, match="cut short"):
        CODECS["oip-grpc"].server(message.SerializeToString()[:-1])


@pytest.mark.parametrize(("code", "words", "status"), [
    (0, "", 200), (3, "bad", 400), (4, "", 504), (5, "", 404), (12, "", 404), (14, "", 503), (8, "queue is full", 503),
    (8, "Received message larger than max (9 vs. 4)", 413), (99, "", 500),
])
def test_grpc_statuses_as_http_s(code: int, words: str, status: int) -> None:
    assert http_status(code, words) == status


def test_a_lost_connection_is_no_refusal() -> None:
    assert was_lost(14, "Socket closed")
    assert was_lost(14, "failed to connect to all addresses")
    assert not was_lost(14, "the queue is full")
    assert not was_lost(3, "Socket closed")
