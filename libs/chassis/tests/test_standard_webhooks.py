"""Signatures are those that the published package verifies, and no others."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from model_engine_chassis.standard_webhooks import new_secret, signed_headers

BODY = '{"text":"ä \\u0000"}'.encode()


def test_a_signature_is_verified_by_the_published_package() -> None:
    secret = new_secret()
    headers = signed_headers(secret, "event-1", datetime.now(UTC), BODY)
    assert Webhook(secret).verify(BODY, headers) == {"text": "ä \x00"}


def test_the_published_package_signs_the_same() -> None:
    secret, moment = new_secret(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ours = signed_headers(secret, "event-1", moment, BODY)
    assert ours["webhook-signature"] == Webhook(secret).sign("event-1", moment, BODY.decode())


@pytest.mark.parametrize("part", ["secret", "body", "webhook-id", "age"])
def test_whatever_is_changed_the_signature_fails(part: str) -> None:
    secret = new_secret()
    moment = datetime.now(UTC) - timedelta(minutes=6 if part == "age" else 0)
    headers = signed_headers(secret, "event-1", moment, BODY)
    if part == "webhook-id":
        headers[part] = "event-2"
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if part == "secret" else secret).verify(BODY + b" " * (part == "body"), headers)


def test_secrets_are_never_the_same_and_malformed_ones_are_refused() -> None:
    assert new_secret() != new_secret()
    for malformed in ("whsec_", "whsec_***", ""):
        with pytest.raises(ValueError, match="secret of a webhook"):
            signed_headers(malformed, "event-1", datetime.now(UTC), BODY)
