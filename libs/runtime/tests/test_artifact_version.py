"""What a source's headers say about the version of an artifact, and what that does to the key of an environment."""

import pytest

from model_engine_runtime.agent.checks import check_environment
from model_engine_runtime.artifact_version import version_of
from model_engine_runtime.errors import InvalidRequest
from model_engine_runtime.keys import environment_key
from model_engine_runtime.protocol import Environment


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"etag": '"abc"', "last-modified": "then", "content-length": "5"}, '"abc"'),
        ({"last-modified": "then", "content-length": "5"}, "then, 5 B"),
        ({"last-modified": "then"}, None),
        ({}, None),
    ],
)
def test_the_version_that_an_answer_names(headers: dict[str, str], version: str | None) -> None:
    assert version_of(headers) == version


def test_another_content_is_another_environment() -> None:
    def key(**fields: str) -> str:
        return environment_key(Environment(**fields), "linux", "1")  # type: ignore[arg-type]  # only texts here

    keys = {
        key(artifact_location="s3://a/b", artifact_version="1"),
        key(artifact_location="s3://a/b", artifact_version="2"),
        key(artifact_location="s3://a/c", artifact_version="1"),
        key(artifact_sha256="a" * 64),
        key(),
    }
    assert len(keys) == 5
    assert key(artifact_location="s3://a/b", artifact_version="1", artifact_url="x") in keys


def test_an_artifact_needs_something_to_be_known_by() -> None:
    check_environment(Environment(artifact_location="s3://a/b", artifact_version="1", artifact_url="http://x"))
    for environment in (Environment(artifact_url="http://x"), Environment(artifact_location="s3://a/b")):
        with pytest.raises(InvalidRequest, match="artifact_sha256"):
            check_environment(environment)
