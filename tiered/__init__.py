"""A tiered key-value store: memory, Redis, and a durable store of record."""
