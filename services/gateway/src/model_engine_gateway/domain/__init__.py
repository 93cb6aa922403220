"""What the gateway decides, as pure functions over contracts: rules, changes of documents, views."""
