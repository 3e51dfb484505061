"""llama.cpp as a model runtime: the backend, the model files that it is given, and its own server to compare with."""

BACKENDS = ("torch", "llama.cpp")
# Of the model files that are made here: the first is what the document used.
KINDS = ("q4_k_m", "q8_0", "f16", "f32")
