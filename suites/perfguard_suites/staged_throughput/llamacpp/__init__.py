"""llama.cpp as a model runtime: the backend, the model files that it is given, and its own server to compare with."""
