"""Two real processes exchanging tensors over ZeroMQ and shared memory, and the diagnosis of where the time goes."""
