"""Locations of artifacts: their scheme, and the hash that one may fix."""

import pytest

from model_engine_contracts.artifact_location import scheme_of, split_location

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("location", "address", "digest"),
    [
        (f"s3://bucket/key#sha256={DIGEST}", "s3://bucket/key", DIGEST),
        (f"s3://bucket/a#b#sha256={DIGEST}", "s3://bucket/a#b", DIGEST),
        ("s3://bucket/key", "s3://bucket/key", None),
        (f"s3://bucket/key#sha256={DIGEST.upper()}", f"s3://bucket/key#sha256={DIGEST.upper()}", None),
        (f"s3://bucket/key#sha256={DIGEST}0", f"s3://bucket/key#sha256={DIGEST}0", None),
        ("", "", None),
    ],
)
def test_only_a_whole_hash_at_the_end_fixes_the_content(location: str, address: str, digest: str | None) -> None:
    assert split_location(location) == (address, digest)


def test_schemes() -> None:
    assert [scheme_of(text) for text in ("S3://b/k", "file:///a", "no scheme", "")] == ["s3", "file", "", ""]
