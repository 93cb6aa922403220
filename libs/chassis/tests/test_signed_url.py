"""Signed artifact addresses open one artifact, until they expire."""

from urllib.parse import parse_qs, urlsplit

from model_engine_chassis.signed_url import is_artifact_signature, sign_artifact_url


def _parts(url: str) -> tuple[str, int, str]:
    split = urlsplit(url)
    query = parse_qs(split.query)
    return split.path.split("/")[3], int(query["expires"][0]), query["signature"][0]


def test_a_signed_address_opens_its_artifact_only() -> None:
    url = sign_artifact_url("http://gateway:5000/", "art_1", "secret", valid_seconds=60)
    artifact_id, expires, signature = _parts(url)

    assert url.startswith("http://gateway:5000/v1/artifacts/art_1/content?")
    assert is_artifact_signature(artifact_id, expires, signature, "secret")
    assert not is_artifact_signature("art_2", expires, signature, "secret")
    assert not is_artifact_signature(artifact_id, expires + 1, signature, "secret")
    assert not is_artifact_signature(artifact_id, expires, signature, "another secret")
    assert not is_artifact_signature(artifact_id, expires, "ünsigned", "secret")


def test_an_expired_address_opens_nothing() -> None:
    artifact_id, expires, signature = _parts(sign_artifact_url("http://g", "art_1", "secret", valid_seconds=-1))

    assert not is_artifact_signature(artifact_id, expires, signature, "secret")
