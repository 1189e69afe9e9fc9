"""Classifiers behind an address: an embedded server, vLLM, and the client that speaks to either."""
