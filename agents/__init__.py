"""Loops over texts, with a language model or without: discovery, labeling, audit, tool retrieval."""
