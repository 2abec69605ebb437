"""The experts of each token: weights and numbers of the best eight, as a router of a mixture of experts takes them."""

import torch


def route(logits, k=8):
    scores = torch.softmax(logits.float(), dim=-1)
    values, experts = torch.topk(scores, k, dim=-1)
    return values / values.sum(-1, keepdim=True), experts
