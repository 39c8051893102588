"""Built-in renderers by name, a module per family: the formats that the models were trained with.

Each is checked token for token and weight for weight against tinker-cookbook; `DIFFERENCES.md` lists what differs.
"""

from kernel.errors import unknown
from kernel.renderer_language.pieces import Renderer
from kernel.renderers import (
    deepseek_v3,
    deepseek_v4_1,
    glm5_3,
    gpt_oss,
    inkling,
    kimi_k2,
    kimi_k3,
    llama3,
    nemotron3,
    plain_text,
    qwen3,
    qwen3_5,
)

_FAMILIES = (
    *(plain_text, llama3, qwen3, qwen3_5, nemotron3, gpt_oss),
    *(kimi_k2, kimi_k3, inkling, deepseek_v3, deepseek_v4_1, glm5_3),
)
RENDERERS: dict[str, Renderer] = {renderer.name: renderer for family in _FAMILIES for renderer in family.FORMATS}
"""Every renderer by its name. A renderer of your own is one more entry."""


def find_renderer(name: str, at: str = "--renderer-name") -> Renderer:
    """The renderer of that name.

    Raises:
        InputError: naming the nearest names.

    >>> find_renderer("llama3").stops
    ('<|eot_id|>',)
    """
    if name not in RENDERERS:
        raise unknown("renderer", name, RENDERERS, at)
    return RENDERERS[name]
