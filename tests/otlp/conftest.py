"""What the OTLP tests share: a receiver for each protocol, and servers that send to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.otlp.receiver import Receiver, receiving


@pytest.fixture(params=["http/protobuf", "grpc"])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    """Provide a receiver, for HTTP and for gRPC in turn."""
    with receiving(request.param) as receiver:
        yield receiver


@pytest.fixture
def http_receiver() -> Iterator[Receiver]:
    """Provide a receiver for HTTP, where the protocol makes no difference."""
    with receiving("http/protobuf") as receiver:
        yield receiver
