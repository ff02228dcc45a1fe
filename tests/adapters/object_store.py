"""How does a test get an object store of its own? By moto's server on loopback, where it and boto3 are installed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def own_bucket(name: str) -> Iterator[Callable[[], list[str]]]:
    """Let `s3://` mean a server of this process, with one bucket; give what lists its keys. Skips where it cannot."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: recsys[s3]")
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]'")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in {
            "MLFLOW_S3_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(variable, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
        client.create_bucket(Bucket=name)
        try:
            yield lambda: [item["Key"] for item in client.list_objects_v2(Bucket=name).get("Contents", [])]
        finally:
            client.close()
            server.stop()
