"""The networks behind perceptual distances once more, in PyTorch, from their published descriptions: VGG-16 (Simonyan & Zisserman
2015) as torchvision names its layers, LPIPS v0.1 on it (Zhang et al. 2018), and the two conventions of bilinear interpolation.
Plain functions of a dictionary of weights, so that narrow networks with random weights can be compared as well as the real one.
"""
import torch
import torch.nn.functional as F

# torchvision's numbering: the place of each convolution in `features`; a pool comes before the first of every stage but one
STAGES = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def bilinear(x, size, tf1=False):
    """To (height, width): PyTorch's align_corners=False, or resize_bilinear of TensorFlow 1 without half-pixel centres."""
    if not tf1:
        return F.interpolate(x, size=size, mode='bilinear', align_corners=False)
    for axis, out in zip((2, 3), size):
        place = torch.arange(out, dtype=x.dtype) * (x.shape[axis] / out)
        low = place.floor().long().clamp(max=x.shape[axis] - 1)
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        weight = (place - low).reshape(-1, *[1] * (3 - axis))
        x = x.index_select(axis, low) * (1 - weight) + x.index_select(axis, high) * weight
    return x


def vgg16(weights, x, size=None, pool='max'):
    """The five stages' last activations of images in [-1, 1], resized to size x size first."""
    if size:
        x = bilinear(x, (size, size))
    x = ((x + 1) / 2 - torch.tensor(MEAN, dtype=x.dtype).reshape(1, 3, 1, 1)) / torch.tensor(STD, dtype=x.dtype).reshape(1, 3, 1, 1)
    taps = []
    for stage, layers in enumerate(STAGES):
        if stage:
            x = F.max_pool2d(x, 2, 2) if pool == 'max' else F.avg_pool2d(x, 2, 2)
        for layer in layers:
            x = F.relu(F.conv2d(x, weights[f'features.{layer}.weight'], weights[f'features.{layer}.bias'], padding=1))
        taps.append(x)
    return taps


def unit(x):
    return x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def distance(taps0, taps1, heads=None):
    """LPIPS of each pair of images; without heads every channel counts 1."""
    total = 0
    for i, (a, b) in enumerate(zip(taps0, taps1)):
        square = (unit(a) - unit(b)).square()
        weighted = F.conv2d(square, heads[i]) if heads else square.sum(1, keepdim=True)
        total = total + weighted.mean((1, 2, 3))
    return total


def heads_of(weights):
    return [weights[f'lin{i}.model.1.weight'] for i in range(5)]


def random_vgg16(widths, generator):
    """Weights of a VGG-16 with these widths of its stages; convolutions keep the size of activations, heads are not negative."""
    weights, width_in = {}, 3
    for stage, layers in enumerate(STAGES):
        for layer in layers:
            scale = (2 / (9 * width_in)) ** 0.5
            weights[f'features.{layer}.weight'] = scale * torch.randn(widths[stage], width_in, 3, 3, generator=generator)
            weights[f'features.{layer}.bias'] = 0.1 * torch.randn(widths[stage], generator=generator)
            width_in = widths[stage]
        weights[f'lin{stage}.model.1.weight'] = torch.rand(1, widths[stage], 1, 1, generator=generator)
    return weights
