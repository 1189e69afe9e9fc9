"""Encoders for tool retrieval: MLC, triplets, ToolRefiner, and their training."""
