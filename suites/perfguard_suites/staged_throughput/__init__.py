"""A serving stack, one component added per stage: where tokens per second are lost on the way to the client."""
