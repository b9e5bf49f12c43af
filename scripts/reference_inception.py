"""Inception-v3 of 2015-12-05 once more, in PyTorch, as a plain function of a dictionary of weights (names of pytorch-fid's port), so that
narrow networks with random weights can be compared as well as the real one, in any precision. Architecture: Szegedy et al. 2016 with
the three traits of the published TensorFlow graph: padding does not count in the means of the Mixed blocks, the last block pools by maximum,
1008 classes. Batch norm is computed, not folded.
"""
import torch
import torch.nn.functional as F

from reference_features import bilinear

SIZE, FEATURES, CLASSES, EPSILON = 299, 2048, 1008, 1e-3


class Layers:
    """Applies named layers, and sees each as (name, input channels, output channels, kernel) first when `visit` is given: that is how
    random weights are drawn and batch norms are calibrated."""

    def __init__(self, weights, divisor, visit=None):
        self.weights, self.divisor, self.visit = weights, divisor, visit

    def conv(self, name, x, width, kernel=(1, 1), stride=1, pad=None):
        width //= self.divisor
        if pad is None:
            pad = kernel[0] // 2, kernel[1] // 2
        if self.visit:
            self.visit(self.weights, name, x, width, kernel, stride, pad)
        w = self.weights
        x = F.conv2d(x, w[f'{name}.conv.weight'], None, stride, pad)
        x = F.batch_norm(x, w[f'{name}.bn.running_mean'], w[f'{name}.bn.running_var'], w[f'{name}.bn.weight'], w[f'{name}.bn.bias'],
                         False, 0, EPSILON)
        return F.relu(x)

    def chain(self, block, x, *layers):
        for name, width, *kernel in layers:
            x = self.conv(f'{block}.{name}', x, width, *kernel)
        return x

    def pool(self, block, x, width, largest=False):
        x = F.max_pool2d(x, 3, 1, 1) if largest else F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return self.conv(f'{block}.branch_pool', x, width)

    def halve(self, block, name, x, width):
        return self.conv(f'{block}.{name}', x, width, (3, 3), 2, 0)

    def block_35(self, block, x, pool):
        return torch.cat([
            self.chain(block, x, ('branch1x1', 64)),
            self.chain(block, x, ('branch5x5_1', 48), ('branch5x5_2', 64, (5, 5))),
            self.chain(block, x, ('branch3x3dbl_1', 64), ('branch3x3dbl_2', 96, (3, 3)), ('branch3x3dbl_3', 96, (3, 3))),
            self.pool(block, x, pool)], 1)

    def block_35_to_17(self, block, x):
        y = self.chain(block, x, ('branch3x3dbl_1', 64), ('branch3x3dbl_2', 96, (3, 3)))
        return torch.cat([self.halve(block, 'branch3x3', x, 384), self.halve(block, 'branch3x3dbl_3', y, 96), F.max_pool2d(x, 3, 2)], 1)

    def block_17(self, block, x, width):
        flat, tall = (1, 7), (7, 1)
        return torch.cat([
            self.chain(block, x, ('branch1x1', 192)),
            self.chain(block, x, ('branch7x7_1', width), ('branch7x7_2', width, flat), ('branch7x7_3', 192, tall)),
            self.chain(block, x, ('branch7x7dbl_1', width), ('branch7x7dbl_2', width, tall), ('branch7x7dbl_3', width, flat),
                       ('branch7x7dbl_4', width, tall), ('branch7x7dbl_5', 192, flat)),
            self.pool(block, x, 192)], 1)

    def block_17_to_8(self, block, x):
        y = self.chain(block, x, ('branch3x3_1', 192))
        z = self.chain(block, x, ('branch7x7x3_1', 192), ('branch7x7x3_2', 192, (1, 7)), ('branch7x7x3_3', 192, (7, 1)))
        return torch.cat([self.halve(block, 'branch3x3_2', y, 320), self.halve(block, 'branch7x7x3_4', z, 192), F.max_pool2d(x, 3, 2)], 1)

    def block_8(self, block, x, largest):
        y = self.chain(block, x, ('branch3x3_1', 384))
        z = self.chain(block, x, ('branch3x3dbl_1', 448), ('branch3x3dbl_2', 384, (3, 3)))
        return torch.cat([
            self.chain(block, x, ('branch1x1', 320)),
            self.chain(block, y, ('branch3x3_2a', 384, (1, 3))), self.chain(block, y, ('branch3x3_2b', 384, (3, 1))),
            self.chain(block, z, ('branch3x3dbl_3a', 384, (1, 3))), self.chain(block, z, ('branch3x3dbl_3b', 384, (3, 1))),
            self.pool(block, x, 192, largest)], 1)

    def pooled(self, x):
        x = self.conv('Conv2d_1a_3x3', x, 32, (3, 3), 2, 0)
        x = self.conv('Conv2d_2a_3x3', x, 32, (3, 3), 1, 0)
        x = F.max_pool2d(self.conv('Conv2d_2b_3x3', x, 64, (3, 3)), 3, 2)
        x = self.conv('Conv2d_3b_1x1', x, 80)
        x = F.max_pool2d(self.conv('Conv2d_4a_3x3', x, 192, (3, 3), 1, 0), 3, 2)
        for name, width in ('Mixed_5b', 32), ('Mixed_5c', 64), ('Mixed_5d', 64):
            x = self.block_35(name, x, width)
        x = self.block_35_to_17('Mixed_6a', x)
        for name, width in ('Mixed_6b', 128), ('Mixed_6c', 160), ('Mixed_6d', 160), ('Mixed_6e', 192):
            x = self.block_17(name, x, width)
        x = self.block_17_to_8('Mixed_7a', x)
        x = self.block_8('Mixed_7b', x, False)
        return self.block_8('Mixed_7c', x, True).mean((2, 3))


def prepare(images, convention, dtype=torch.float64):
    """Bytes, NHWC, to the network's 299 x 299 input."""
    x = torch.as_tensor(images).permute(0, 3, 1, 2).to(dtype)
    if convention == 'tf1':
        return (bilinear(x, (SIZE, SIZE), True) - 128) / 128
    return 2 * bilinear(x / 255, (SIZE, SIZE)) - 1


def inception(weights, images, convention, divisor=1):
    """2048 features, 1008 logits with the bias of the last layer and without it (all divided by `divisor` where widths are)."""
    pooled = Layers(weights, divisor).pooled(prepare(images, convention, weights['fc.weight'].dtype))
    scores = pooled @ weights['fc.weight'].T
    return pooled, scores + weights['fc.bias'], scores


def random_inception(divisor, images, generator):
    """Random weights whose batch norms know the statistics of these images; without that, deep features would be all but constant."""
    def draw(weights, name, x, width, kernel, stride, pad):
        fan = x.shape[1] * kernel[0] * kernel[1]
        # weights that float16 holds exactly make small golden files
        w = (torch.randn(width, x.shape[1], *kernel, generator=generator) / fan ** 0.5).half()
        y = F.conv2d(x, w.to(x.dtype), None, stride, pad)
        weights[f'{name}.conv.weight'] = w.to(x.dtype)
        weights[f'{name}.bn.weight'] = (1 + 0.2 * torch.randn(width, generator=generator)).to(x.dtype)
        weights[f'{name}.bn.bias'] = (0.3 * torch.randn(width, generator=generator)).to(x.dtype)
        weights[f'{name}.bn.running_mean'] = y.mean((0, 2, 3)).float().to(x.dtype)
        weights[f'{name}.bn.running_var'] = y.var((0, 2, 3)).float().to(x.dtype)

    weights = {}
    Layers(weights, divisor, draw).pooled(prepare(images, 'tf1', torch.float32))
    classes, features = CLASSES // divisor, FEATURES // divisor
    weights['fc.weight'] = (torch.randn(classes, features, generator=generator) / features ** 0.5).half().float()
    weights['fc.bias'] = 0.3 * torch.randn(classes, generator=generator)
    return weights


def inception_shapes():
    """Shapes of all tensors of the network, by name."""
    class Shapes(Layers):
        def conv(self, name, x, width, kernel=(1, 1), stride=1, pad=None):
            self.weights[f'{name}.conv.weight'] = width, x.shape[1], *kernel
            for part in 'weight', 'bias', 'running_mean', 'running_var':
                self.weights[f'{name}.bn.{part}'] = width,
            shrink = 2 if pad == 0 else 0
            h, w = ((size - shrink - 1) // stride + 1 for size in x.shape[2:])
            return torch.zeros(1, width, h, w)

    shapes = {}
    Shapes(shapes, 1).pooled(torch.zeros(1, 3, SIZE, SIZE))
    return {**shapes, 'fc.weight': (CLASSES, FEATURES), 'fc.bias': (CLASSES,)}


def random_images(count, size, generator):
    """Bytes with structure at every scale, NHWC."""
    x = 0
    for cells in 2, 5, size:
        x = x + F.interpolate(torch.randn(count, 3, cells, cells, generator=generator), size=(size, size), mode='bilinear')
    return (127.5 + 50 * x).clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
