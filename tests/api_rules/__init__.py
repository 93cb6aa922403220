"""What the API promises for bundles, endpoints and predictions, one row for each rule."""
