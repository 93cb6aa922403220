"""The control routes: REST over FastAPI, thin over what bundles, endpoints, artifacts and keys can do."""
