"""The split-RPC suite: a trusted process and an untrusted accelerator server run one LLaMA-shaped model together."""
