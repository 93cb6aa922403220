"""Webhooks: subscriptions to the history, and the deliverer that posts its events to them."""
