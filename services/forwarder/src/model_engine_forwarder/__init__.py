"""The sidecar of every inference worker: HTTP in, task queue in, model server out."""
