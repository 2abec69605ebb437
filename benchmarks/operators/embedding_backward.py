"""Gradient of an embedding: the gradients of the tokens, added up by token."""

import torch


def embedding_grad(grad_output, tokens, vocabulary):
    grad = torch.zeros(vocabulary, grad_output.shape[-1], dtype=torch.float32, device=grad_output.device)
    return grad.index_add_(0, tokens, grad_output.float())
