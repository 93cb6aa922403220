"""The wire models of the REST API, one module per resource. Class names are the component names of the documents."""
