"""A model whose layers do not fit: their weights are streamed from a file while the device computes."""
