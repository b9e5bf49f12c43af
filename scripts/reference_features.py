"""The networks behind perceptual distances once more, in PyTorch, from their published descriptions: VGG-16 (Simonyan & Zisserman
2015) as torchvision names its layers, LPIPS v0.1 on it (Zhang et al. 2018), its second fully connected layer as torch-fidelity takes it
for precision and recall, and the two conventions of bilinear interpolation.
Plain functions of a dictionary of weights, so that narrow networks with random weights can be compared as well as the real one.
"""
import torch
import torch.nn.functional as F

# torchvision's numbering: the place of each convolution in `features`; a pool comes before the first of every stage but one
STAGES = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]]
VGG_SIZE, VGG_PLACES = 224, 7
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


def normalise(x):
    """Images in [0, 1] by ImageNet's mean and deviation."""
    mean, std = (torch.tensor(values, dtype=x.dtype).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def vgg16(weights, x, size=None, pool='max'):
    """The five stages' last activations of images in [-1, 1], resized to size x size first."""
    if size:
        x = bilinear(x, (size, size))
    return stages(weights, normalise((x + 1) / 2), pool)


def stages(weights, x, pool='max'):
    taps = []
    for stage, layers in enumerate(STAGES):
        if stage:
            x = F.max_pool2d(x, 2, 2) if pool == 'max' else F.avg_pool2d(x, 2, 2)
        for layer in layers:
            x = F.relu(F.conv2d(x, weights[f'features.{layer}.weight'], weights[f'features.{layer}.bias'], padding=1))
        taps.append(x)
    return taps


def vgg16_fc2(weights, images):
    """Bytes, NHWC, to the activations of the second fully connected layer after its rectifier (torch-fidelity's `fc2_relu`)."""
    x = torch.as_tensor(images).permute(0, 3, 1, 2).to(weights['classifier.0.weight'].dtype)
    x = stages(weights, normalise(bilinear(x, (VGG_SIZE, VGG_SIZE), True) / 255))[-1]
    x = F.max_pool2d(x, 2, 2).flatten(1)
    for layer in 0, 3:
        x = F.relu(F.linear(x, weights[f'classifier.{layer}.weight'], weights[f'classifier.{layer}.bias']))
    return x


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


def random_vgg16_fc2(widths, units, generator):
    """The same with the two fully connected layers in place of LPIPS's heads, in values that float16 holds exactly."""
    weights = {name: a for name, a in random_vgg16(widths, generator).items() if name.startswith('features')}
    for layer, width_in in (0, widths[-1] * VGG_PLACES ** 2), (3, units):
        weights[f'classifier.{layer}.weight'] = (2 / width_in) ** 0.5 * torch.randn(units, width_in, generator=generator)
        weights[f'classifier.{layer}.bias'] = 0.1 * torch.randn(units, generator=generator)
    return {name: a.half().float() for name, a in weights.items()}


def vgg16_fc2_file(weights):
    """As `./run weights import` takes them: the first fully connected layer is a convolution over the 7 x 7 places that are left."""
    first = weights['classifier.0.weight']
    return {**weights, 'classifier.0.weight': first.reshape(first.shape[0], -1, VGG_PLACES, VGG_PLACES)}
