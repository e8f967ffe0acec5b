"""Seeded random words that can be addressed by name and day, and shapes made of them by plain arithmetic.

The raw stream of Philox is a published, counter-based function: word i of the stream of a name is the same
whatever else was drawn. What is derived from the words uses only + − × ÷ and √, which IEEE 754 defines to the
last bit; NumPy's exp and its normal distribution are not equal across CPUs and releases.
"""

from hashlib import blake2b

import numpy as np

WORDS_PER_DAY = 4  # one Philox counter gives four 64-bit words
_LANE = 65536.0
_EVEN_LANES = np.uint64(0x0000FFFF0000FFFF)
_LOW_HALF = np.uint64(0xFFFFFFFF)


def words(seed: int, name: str, first_day: int, days: int) -> np.ndarray:
    """The words of `name` for `days` consecutive day numbers: uint64 of shape (days, 4)."""
    digest = blake2b(f"{seed}\x1f{name}".encode(), digest_size=16).digest()
    key = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    raw: np.ndarray = np.random.Philox(key=key, counter=first_day).random_raw(days * WORDS_PER_DAY)
    return raw.reshape(days, WORDS_PER_DAY)


def uniforms(word: np.ndarray) -> np.ndarray:
    """Four independent uniform numbers in (0, 1) from each 64-bit word: float64, shape (..., 4)."""
    lanes = np.ascontiguousarray(word).astype("<u8")[..., np.newaxis].view("<u2")
    uniform: np.ndarray = (lanes.astype(np.float64) + 0.5) / _LANE
    return uniform


def bell(word: np.ndarray) -> np.ndarray:
    """A bell-shaped number of mean 0 and variance 1 from each word, with tails as fat as daily returns have.

    Sum of four uniforms (Irwin–Hall, variance 1/3), then z → z (a + b z²), which lifts the kurtosis from 2.7
    to about 5 and cuts off at six standard deviations.
    """
    # The four 16-bit lanes are added inside the word: two, then one addition of integers.
    pairs = (word & _EVEN_LANES) + ((word >> np.uint64(16)) & _EVEN_LANES)
    total = (pairs & _LOW_HALF) + (pairs >> np.uint64(32))
    z = ((total.astype(np.float64) + 2.0) / _LANE - 2.0) * np.sqrt(3.0)
    fat: np.ndarray = z * (_BELL_A + _BELL_B * z * z)
    return fat


# a² + 2ab·E[z⁴] + b²·E[z⁶] = 1 with E[z⁴] = 2.7 and E[z⁶] = 10.928571 for the sum of four uniforms.
_BELL_B = 0.1
_BELL_A = 0.711638571835014


def grow(x: np.ndarray) -> np.ndarray:
    """(1 + x/1024)^1024: the exponential for |x| < 3 to a relative x²/2048, by ten squarings."""
    power: np.ndarray = 1.0 + x / 1024.0
    for _ in range(10):
        power = power * power
    return power


def scatter(numbers: np.ndarray, key: np.ndarray) -> np.ndarray:
    """A well-mixed word for each number under `key`, one word in an array (SplitMix64's finaliser, Steele, Lea and Flood 2014): uint64."""
    z: np.ndarray = numbers.astype(np.uint64) + key * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed
