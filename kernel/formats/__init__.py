"""The table of renderers: a module a family, rows of pieces only. `RENDERERS` maps a name to its renderer.

Each is the format that the model was trained with, checked token for token and weight for weight against
tinker-cookbook; what differs on purpose stands in `DIFFERENCES.md` beside this file.
"""

from kernel.chat_format.pieces import Renderer
from kernel.errors import unknown
from kernel.formats.deepseek_v3 import (
    DEEPSEEKV3,
    DEEPSEEKV3_DISABLE_THINKING,
    DEEPSEEKV3_THINKING,
)
from kernel.formats.deepseek_v4_1 import (
    DEEPSEEKV4_1,
    DEEPSEEKV4_1_DISABLE_THINKING,
    DEEPSEEKV4_1_LOW_REASONING,
    DEEPSEEKV4_1_MAX_REASONING,
    DEEPSEEKV4_1_PRESERVE_THINKING,
)
from kernel.formats.glm5_3 import (
    GLM5_3_HIGH_REASONING,
    GLM5_3_LOW_REASONING,
    GLM5_3_MAX_REASONING,
)
from kernel.formats.gpt_oss import (
    GPT_OSS_HIGH_REASONING,
    GPT_OSS_LOW_REASONING,
    GPT_OSS_MEDIUM_REASONING,
    GPT_OSS_NO_SYSPROMPT,
)
from kernel.formats.inkling import TML_V0
from kernel.formats.kimi_k2 import (
    KIMI_K2,
    KIMI_K25,
    KIMI_K25_DISABLE_THINKING,
    KIMI_K26,
    KIMI_K26_DISABLE_THINKING,
    KIMI_K26_PRESERVE_THINKING,
)
from kernel.formats.kimi_k3 import (
    KIMI_K31_PRO_DISABLE_THINKING,
    KIMI_K31_PRO_HIGH_REASONING,
    KIMI_K31_PRO_LOW_REASONING,
    KIMI_K31_PRO_MAX_REASONING,
    KIMI_K31_PRO_NO_REASONING_EFFORT,
)
from kernel.formats.llama3 import LLAMA3
from kernel.formats.nemotron3 import (
    NEMOTRON3,
    NEMOTRON3_DISABLE_THINKING,
    NEMOTRON3_LOW_THINKING,
    NEMOTRON3_PRESERVE_THINKING,
    NEMOTRON3_ULTRA,
    NEMOTRON3_ULTRA_DISABLE_THINKING,
    NEMOTRON3_ULTRA_MEDIUM_THINKING,
    NEMOTRON3_ULTRA_PRESERVE_THINKING,
)
from kernel.formats.qwen3 import QWEN3, QWEN3_DISABLE_THINKING, QWEN3_INSTRUCT
from kernel.formats.qwen3_5 import QWEN3_5, QWEN3_5_DISABLE_THINKING, QWEN3_5_PRESERVE_THINKING
from kernel.formats.qwen3_8 import (
    QWEN3_8_DISABLE_THINKING,
    QWEN3_8_LOW_REASONING,
    QWEN3_8_MEDIUM_REASONING,
    QWEN3_8_XHIGH_REASONING,
)
from kernel.formats.qwen3_vl import QWEN3_VL, QWEN3_VL_INSTRUCT
from kernel.formats.role_colon import ROLE_COLON
from kernel.formats.text import TEXT

RENDERERS: dict[str, Renderer] = {
    renderer.name: renderer
    for renderer in (
        ROLE_COLON,
        TEXT,
        LLAMA3,
        QWEN3,
        QWEN3_DISABLE_THINKING,
        QWEN3_INSTRUCT,
        QWEN3_VL,
        QWEN3_VL_INSTRUCT,
        QWEN3_5,
        QWEN3_5_DISABLE_THINKING,
        QWEN3_5_PRESERVE_THINKING,
        QWEN3_8_XHIGH_REASONING,
        QWEN3_8_MEDIUM_REASONING,
        QWEN3_8_LOW_REASONING,
        QWEN3_8_DISABLE_THINKING,
        NEMOTRON3,
        NEMOTRON3_LOW_THINKING,
        NEMOTRON3_DISABLE_THINKING,
        NEMOTRON3_PRESERVE_THINKING,
        NEMOTRON3_ULTRA,
        NEMOTRON3_ULTRA_DISABLE_THINKING,
        NEMOTRON3_ULTRA_MEDIUM_THINKING,
        NEMOTRON3_ULTRA_PRESERVE_THINKING,
        GPT_OSS_NO_SYSPROMPT,
        GPT_OSS_LOW_REASONING,
        GPT_OSS_MEDIUM_REASONING,
        GPT_OSS_HIGH_REASONING,
        KIMI_K2,
        KIMI_K25,
        KIMI_K25_DISABLE_THINKING,
        KIMI_K26,
        KIMI_K26_DISABLE_THINKING,
        KIMI_K26_PRESERVE_THINKING,
        KIMI_K31_PRO_MAX_REASONING,
        KIMI_K31_PRO_HIGH_REASONING,
        KIMI_K31_PRO_LOW_REASONING,
        KIMI_K31_PRO_DISABLE_THINKING,
        KIMI_K31_PRO_NO_REASONING_EFFORT,
        TML_V0,
        DEEPSEEKV3,
        DEEPSEEKV3_DISABLE_THINKING,
        DEEPSEEKV3_THINKING,
        DEEPSEEKV4_1,
        DEEPSEEKV4_1_LOW_REASONING,
        DEEPSEEKV4_1_MAX_REASONING,
        DEEPSEEKV4_1_DISABLE_THINKING,
        DEEPSEEKV4_1_PRESERVE_THINKING,
        GLM5_3_MAX_REASONING,
        GLM5_3_HIGH_REASONING,
        GLM5_3_LOW_REASONING,
    )
}
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


__all__ = [
    "DEEPSEEKV3",
    "DEEPSEEKV3_DISABLE_THINKING",
    "DEEPSEEKV3_THINKING",
    "DEEPSEEKV4_1",
    "DEEPSEEKV4_1_DISABLE_THINKING",
    "DEEPSEEKV4_1_LOW_REASONING",
    "DEEPSEEKV4_1_MAX_REASONING",
    "DEEPSEEKV4_1_PRESERVE_THINKING",
    "GLM5_3_HIGH_REASONING",
    "GLM5_3_LOW_REASONING",
    "GLM5_3_MAX_REASONING",
    "GPT_OSS_HIGH_REASONING",
    "GPT_OSS_LOW_REASONING",
    "GPT_OSS_MEDIUM_REASONING",
    "GPT_OSS_NO_SYSPROMPT",
    "KIMI_K2",
    "KIMI_K25",
    "KIMI_K25_DISABLE_THINKING",
    "KIMI_K26",
    "KIMI_K26_DISABLE_THINKING",
    "KIMI_K26_PRESERVE_THINKING",
    "KIMI_K31_PRO_DISABLE_THINKING",
    "KIMI_K31_PRO_HIGH_REASONING",
    "KIMI_K31_PRO_LOW_REASONING",
    "KIMI_K31_PRO_MAX_REASONING",
    "KIMI_K31_PRO_NO_REASONING_EFFORT",
    "LLAMA3",
    "NEMOTRON3",
    "NEMOTRON3_DISABLE_THINKING",
    "NEMOTRON3_LOW_THINKING",
    "NEMOTRON3_PRESERVE_THINKING",
    "NEMOTRON3_ULTRA",
    "NEMOTRON3_ULTRA_DISABLE_THINKING",
    "NEMOTRON3_ULTRA_MEDIUM_THINKING",
    "NEMOTRON3_ULTRA_PRESERVE_THINKING",
    "QWEN3",
    "QWEN3_5",
    "QWEN3_5_DISABLE_THINKING",
    "QWEN3_5_PRESERVE_THINKING",
    "QWEN3_8_DISABLE_THINKING",
    "QWEN3_8_LOW_REASONING",
    "QWEN3_8_MEDIUM_REASONING",
    "QWEN3_8_XHIGH_REASONING",
    "QWEN3_DISABLE_THINKING",
    "QWEN3_INSTRUCT",
    "QWEN3_VL",
    "QWEN3_VL_INSTRUCT",
    "RENDERERS",
    "ROLE_COLON",
    "TEXT",
    "TML_V0",
    "find_renderer",
]
