import torch
from torch import nn

B = 64
N = 256


class Model(nn.Module):
    def forward(self, boxes):
        x1, y1, x2, y2 = boxes.unbind(-1)
        area = (x2 - x1) * (y2 - y1)
        w = (torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])).clamp(min=0)
        h = (torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])).clamp(min=0)
        inter = w * h
        iou = inter / (area[:, :, None] + area[:, None] - inter)
        keep = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
        idx = torch.arange(boxes.shape[1], device=boxes.device)
        for i in range(boxes.shape[1]):
            drop = (iou[:, i] > 0.5) & (idx > i) & keep[:, i : i + 1]
            keep = keep & ~drop
        return keep


def get_inputs():
    c = torch.rand(B, N, 2) * 10
    s = torch.rand(B, N, 2) * 4 + 1
    return [torch.cat([c, c + s], dim=-1)]


def get_init_inputs():
    return []
