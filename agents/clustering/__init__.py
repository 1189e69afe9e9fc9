"""Label spaces without a model: clusters of embeddings, their number and their names."""
