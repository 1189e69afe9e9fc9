"""Label spaces by a model: the loop of TnT-LLM, its updates, migration of labels, and its judge."""
