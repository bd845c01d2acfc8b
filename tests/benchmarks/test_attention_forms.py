"""Library kernels of the decode benchmark compute what the model's own attention does."""

import jax
import jax.numpy as jnp
import pytest
from attention_forms import Form, block_of, kernel, library, merged, plain
from decode_attention import TOLERANCE, Sizes, decode, difference, make_data

SIZES = Sizes(lanes=3, kv_heads=2, group=2, head_dim=16, window=64)
DTYPE = "float32"


def step_of(form: Form, context: str) -> jax.Array:
    data = make_data(SIZES, context, DTYPE, form.lay_out)
    return jax.jit(lambda data: decode(form, data)[0])(data)


@pytest.mark.parametrize(
    ("form", "context"),
    [
        (library("xla", lambda dtype: ""), "own"),
        (library("xla", lambda dtype: ""), "shared"),
        (kernel(splits=2, interpret=True), "shared"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.name,
)
def test_a_step_reads_what_ours_does(form: Form, context: str) -> None:
    """With a shared prefix its parts are attended to apart and merged."""
    ours = step_of(plain(), context)
    assert difference(step_of(form, context), ours) < TOLERANCE[DTYPE]
    assert difference(jnp.roll(ours, 1, axis=0), ours) > 0.1, "lanes read different numbers"


def test_parts_count_by_their_exponentials() -> None:
    """Three slots of equal score, cut in one and two; a part that was never seen counts nothing."""
    first, rest = jnp.array([3.0]), jnp.array([6.0])
    parts = [(first, jnp.log(1.0)), (rest, jnp.log(2.0)), (jnp.array([9.0]), jnp.array(-jnp.inf))]
    assert merged(parts).tolist() == pytest.approx([5.0])


def test_what_a_step_has_to_read() -> None:
    """Filled slots only, the shared ones once."""
    slot = 2 * SIZES.kv_heads * SIZES.head_dim * jnp.dtype(DTYPE).itemsize
    assert SIZES.bytes("own", DTYPE) == 3 * 48 * slot
    assert SIZES.bytes("shared", DTYPE) == (32 + 3 * 16) * slot


def test_programs_that_cannot_share_a_context_are_refused() -> None:
    assert [block_of(64, 1), block_of(1024, 4), block_of(96, 2)] == [64, 128, 16]
    with pytest.raises(ValueError, match="4 programs cannot share 32 slots, 16 at a time"):
        block_of(32, 4)
