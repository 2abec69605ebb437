"""Cross-entropy of a language model: a loss for each token, from logits and labels; padding has label -100."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def forward(self, logits, labels):
        return F.cross_entropy(logits.float(), labels, ignore_index=-100, reduction="none")


tokens = 4096
vocabulary = 32000


def get_inputs():
    logits = torch.randn(tokens, vocabulary, dtype=torch.bfloat16)
    labels = torch.randint(0, vocabulary, (tokens,))
    return [logits, labels]


def get_init_inputs():
    return []
