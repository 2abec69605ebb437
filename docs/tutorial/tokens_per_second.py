"""Tokens per second of a Llama of random weights, before and after its norms become the operator of an exported file.

    pip install torch transformers  # in a virtual environment without kopt
    python tokens_per_second.py fast_norm.py [--layers 16] [--hidden 2048] [--batch 4] [--tokens 1024] [--compile]

Both models are the same but for their norms.  They run in turn, so that a GPU that slows down slows both.
"""

import argparse
import copy
import importlib.util
import statistics
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

WARM_UP = 3
"""Passes of each model that do not count."""


class FastNorm(torch.nn.Module):
    """A norm of Llama that calls the operator."""

    def __init__(self, norm, call):
        super().__init__()
        self.weight, self.size, self.call = norm.weight, norm.weight.shape[0], call

    def forward(self, hidden):
        rows = hidden.reshape(-1, self.size)
        return self.call(rows, self.weight).reshape(hidden.shape)


def imported(path):
    """Import an exported file."""
    spec = importlib.util.spec_from_file_location("operator_of_kopt", path)
    operator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = operator  # torch.compile looks modules up by name
    spec.loader.exec_module(operator)
    return operator


def with_operator(model, call):
    """Return a copy of a model whose norms call the operator."""
    fast = copy.deepcopy(model)
    for module in list(fast.modules()):
        for name, child in module.named_children():
            if isinstance(child, LlamaRMSNorm):
                setattr(module, name, FastNorm(child, call))
    return fast


def seconds(model, tokens, device):
    """Time one pass over a batch of tokens."""
    if device == "cuda":
        torch.cuda.synchronize()
    since = time.perf_counter()
    model(tokens)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - since


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("operator", help="what kopt export --as torch-library wrote")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--compile", action="store_true", help="compile both models")
    options = parser.parse_args()
    operator = imported(options.operator)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = LlamaConfig(
        hidden_size=options.hidden, intermediate_size=4 * options.hidden, num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64, num_key_value_heads=max(1, options.hidden // 256), vocab_size=32000,
        rms_norm_eps=1e-6,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device(device):
        model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
        tokens = torch.randint(0, config.vocab_size, (options.batch, options.tokens))
    models = {"as it was": model, "with the operator": with_operator(model, operator.call_kernel)}
    times = {name: [] for name in models}
    with torch.no_grad():
        before, after = (one(tokens).logits.float() for one in models.values())
        print(f"largest difference of logits {(before - after).abs().max():.4f}, logits up to {before.abs().max():.2f}")
        if options.compile:
            models = {name: torch.compile(one) for name, one in models.items()}
        for turn in range(options.passes + WARM_UP):
            for name, one in models.items():
                taken = seconds(one, tokens, device)
                if turn >= WARM_UP:
                    times[name].append(taken)
    count = options.batch * options.tokens
    rates = {name: count / statistics.median(several) for name, several in times.items()}
    for name, rate in rates.items():
        print(f"{name:20} {rate:12,.0f} tokens/s")
    if device == "cuda":
        ratio = rates["with the operator"] / rates["as it was"]
        print(f"{ratio:.3f}x on {torch.cuda.get_device_name()}, torch {torch.__version__}")
    else:
        print("on a CPU the operator is PyTorch: a ratio would say nothing")


if __name__ == "__main__":
    main()
