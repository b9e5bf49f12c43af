"""What a training step draws, once more, in numpy: data order, flips, pairs of noise levels, noise and dropout masks.

Every draw of the program is a function of (seed, stream, step, sample, element), so nothing has to be recorded in a run to
repeat it elsewhere: this file computes the same numbers from the same keys. Written from the published generator (Salmon et al.
2011, Philox4x32-10) and from what core/base/philox.h and core/backend/{draw,order}.h promise in words, in exact arithmetic.
"""
import numpy as np

STREAM_ORDER, STREAM_FLIP, STREAM_LEVEL, STREAM_NOISE, STREAM_DROPOUT = 2, 3, 4, 5, 64


def philox(counter, key):
    """Philox4x32-10 on arrays of counters: four uint64 arrays holding 32 bits each."""
    x, low = list(counter), np.uint64(0xFFFFFFFF)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        p0, p1 = x[0] * np.uint64(0xD2511F53), x[2] * np.uint64(0xCD9E8D57)
        x = [(p1 >> np.uint64(32)) ^ x[1] ^ np.uint64(k0), p1 & low, (p0 >> np.uint64(32)) ^ x[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return x


def words(seed, stream, step, sample, blocks=1):
    """The first blocks of the sequence that belongs to a key, four 32-bit words each."""
    block = np.arange(blocks, dtype=np.uint64)
    same = np.ones_like(block)
    return np.stack(philox([block, same * np.uint64(sample), same * np.uint64(step), same * np.uint64(stream)], seed), axis=1)


def first_word(seed, stream, step, sample):
    return int(words(seed, stream, step, sample)[0, 0])


# ------------------------------------------------------------------------------------------------------------ integers

def permuted(seed, epoch, position, count):
    """A permutation of 0 .. count-1: four Feistel rounds on two halves of `half` bits, again until the result is in range."""
    half = 1
    while half < 16 and 4 ** half < count:
        half += 1
    mask = 2 ** half - 1
    while True:
        left, right = position >> half, position & mask
        for number in range(4):
            key = philox([np.array([c], dtype=np.uint64) for c in (right, number, epoch, STREAM_ORDER)], seed)
            left, right = right, left ^ (int(key[0][0]) & mask)
        position = left << half | right
        if position < count:
            return position


def image_indices(seed, step, batch, count):
    """Which image stands at each place of the batch: one permutation an epoch, epochs of `count` images end to end."""
    return [permuted(seed, seen // count, seen % count, count) for seen in range(step * batch, (step + 1) * batch)]


def flips(seed, step, batch):
    return np.array([first_word(seed, STREAM_FLIP, step, place) >> 31 for place in range(batch)], dtype=bool)


def pairs(seed, step, batch, probabilities):
    """i of each image's pair (sigma_i, sigma_i+1): a 32-bit fraction against the cumulative law."""
    fractions = [first_word(seed, STREAM_LEVEL, step, place) / 2 ** 32 for place in range(batch)]
    return np.minimum(np.searchsorted(np.cumsum(probabilities), fractions, side="right"), len(probabilities) - 1)


# ------------------------------------------------------------------------------------------------------------ arrays

def uniform(word):
    """In (0, 1): the upper 23 bits, centred."""
    return ((word >> np.uint64(9)).astype(np.float64) + 0.5) / 2 ** 23


def normals(seed, step, place, count):
    """Standard normals (Box and Muller 1958), two from two words: cosine, then sine."""
    w = words(seed, STREAM_NOISE, step, place, (count + 3) // 4).reshape(-1, 2)
    length, angle = np.sqrt(-2 * np.log(uniform(w[:, 0]))), 2 * np.pi * uniform(w[:, 1])
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1).reshape(-1)[:count]


def noise(seed, step, batch, shape):
    """z of each image as n h w c."""
    return np.stack([normals(seed, step, place, int(np.prod(shape))).reshape(shape) for place in range(batch)])


def keep_mask(seed, step, layer, sample, count, rate):
    """Whether each element of one sample survives: eight 16-bit lanes a block, in the order of the words' halves, low first."""
    w = words(seed, STREAM_DROPOUT + layer, step, sample, (count + 7) // 8)
    lanes = np.stack([w & np.uint64(0xFFFF), w >> np.uint64(16)], axis=2).reshape(-1)[:count]
    return lanes >= round(rate * 65536)


class SharedMasks:
    """reference.py's `drop`: numbers the layers that drop something as they come, elements in n h w c order. Another one of the
    same seed, step and first sample makes the same masks: one for the teacher, one for the student."""

    def __init__(self, seed, step, first_sample=0):
        self.seed, self.step, self.first, self.layer = seed, step, first_sample, 0

    def __call__(self, x, rate):
        if not rate:
            return x
        n, c, h, w = x.shape
        masks = [keep_mask(self.seed, self.step, self.layer, self.first + i, c * h * w, rate) for i in range(n)]
        self.layer += 1
        # x comes from PyTorch, and this file need not know more about it.
        keep = x.new_tensor(np.stack(masks).reshape(n, h, w, c).transpose(0, 3, 1, 2).astype(np.float64))
        return x * keep / (1 - rate)
