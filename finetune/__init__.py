"""Heads that learn: a linear one over embeddings, and label-supervised language models."""
