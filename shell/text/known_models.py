"""Models by name: the renderers they were trained with, their tokenizer and learning rate.

Names and renderers are those of tinker-cookbook 0.6.1, widths those of the published configs. A model that is
not here works too, given a tokenizer and a renderer.
"""

from typing import NamedTuple

from kernel.errors import InputError, unknown


class Model(NamedTuple):
    """A model that can be trained by name."""

    name: str
    renderers: tuple[str, ...]  # names of renderers it was trained with, the recommended first
    hidden_size: int = 0  # its width, where the learning rate depends on it
    tokenizer_repo: str = ""
    """if it is not the model's own: a Hub repo, `sample` (built-in), or `tml:NAME` (of tml-renderers alone)"""
    revision: str | None = None  # the commit of the tokenizer's repo, where it is pinned
    learning_rate: float | None = None  # the rate to advise, where it was measured

    @property
    def organisation(self) -> str:
        return self.name.split("/")[0]

    @property
    def tokenizer(self) -> str:
        return self.tokenizer_repo or self.name


def find(name: str) -> Model | None:
    """The model of that name, or None. A variant's suffix (`:peft:262144`) is not part of the name."""
    return MODELS.get(name.split(":")[0])


def require(name: str, at: str = "$.model_name") -> Model:
    """The model of that name; InputError with the nearest names where there is none."""
    model = find(name)
    if model is None:
        raise unknown("model", name, MODELS, at)
    return model


def learning_rate_advice(model: Model) -> float:
    """The learning rate to try first for LoRA, by tinker-cookbook's formula; InputError where it has none."""
    if model.learning_rate is not None:
        return model.learning_rate
    exponent = _EXPONENTS.get(model.organisation)
    if exponent is None:
        raise InputError(f"no learning rate is known for {model.name}, give one as a number - at $.learning_rate")
    return float(5e-5 * 10 * (2000 / model.hidden_size) ** exponent)


_EXPONENTS = {"Qwen": 0.0775, "meta-llama": 0.781}


def _variants(stem: str, *endings: str) -> tuple[str, ...]:
    return tuple(f"{stem}_{ending}" if ending else stem for ending in endings)


_BASE = ("role_colon",)
_LLAMA3 = ("llama3",)
_QWEN3 = _variants("qwen3", "", "disable_thinking")
_QWEN3_INSTRUCT = ("qwen3_instruct",)
_QWEN3_VL = ("qwen3_vl_instruct",)
_QWEN35 = _variants("qwen3_5", "", "disable_thinking", "preserve_thinking")
_QWEN38 = _variants("qwen3_8", "xhigh_reasoning", "disable_thinking", "medium_reasoning", "low_reasoning")
_DEEPSEEK3 = _variants("deepseekv3", "", "thinking")
_DEEPSEEK41 = _variants("deepseekv4_1", "", "low_reasoning", "max_reasoning", "disable_thinking", "preserve_thinking")
_GPT_OSS = _variants("gpt_oss", "no_sysprompt", "medium_reasoning")
_KIMI25 = _variants("kimi_k25", "", "disable_thinking")
_KIMI26 = _variants("kimi_k26", "", "disable_thinking", "preserve_thinking")
_KIMI31 = _variants(
    "kimi_k31_pro", "max_reasoning", "high_reasoning", "low_reasoning", "disable_thinking", "no_reasoning_effort"
)
_GLM53 = _variants("glm5_3", "max_reasoning", "low_reasoning", "high_reasoning")
_NEMOTRON3 = _variants("nemotron3", "", "disable_thinking", "preserve_thinking")
_SUPER = _variants("nemotron3", "", "disable_thinking", "preserve_thinking", "low_thinking")
_ULTRA = _variants("nemotron3_ultra", "", "disable_thinking", "medium_thinking", "preserve_thinking")
_LIGHTNING = _variants("nemotron3_ultra", "", "disable_thinking", "preserve_thinking")
_TML = ("tml_v0",)

_LLAMA_TOKENIZER = "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"  # Meta's own repos ask for a licence
_K3, _O200K, _H200K = "tml:kimi_k3", "tml:o200k_base_chat", "tml:h200k_base_chat"
_KIMI_K2_REVISION = "a51ccc050d73dab088bf7b0e2dd9b30ae85a4e55"
_KIMI_K25_REVISION = "2426b45b6af0da48d0dcce71bbce6225e5c73adc"
_KIMI_K26_REVISION = "b5aabbfb20227ed42becbf5541dbffd213942c58"

# fmt: off
_ROWS = (
    Model("tinsmith/tiny", _QWEN3_INSTRUCT, tokenizer_repo="sample", learning_rate=1e-2),

    Model("meta-llama/Llama-3.2-1B", _BASE, 2048, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.2-3B", _BASE, 3072, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-8B", _BASE, 4096, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-8B-Instruct", _LLAMA3, 4096, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-70B", _BASE, 8192, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.3-70B-Instruct", _LLAMA3, 8192, tokenizer_repo=_LLAMA_TOKENIZER),

    Model("Qwen/Qwen3-4B-Instruct-2507", _QWEN3_INSTRUCT, 2560),
    Model("Qwen/Qwen3-8B", _QWEN3, 4096),
    Model("Qwen/Qwen3-8B-Base", _BASE, 4096),
    Model("Qwen/Qwen3-32B", _QWEN3, 5120),
    Model("Qwen/Qwen3-30B-A3B", _QWEN3, 2048),
    Model("Qwen/Qwen3-30B-A3B-Base", _BASE, 2048),
    Model("Qwen/Qwen3-30B-A3B-Instruct-2507", _QWEN3_INSTRUCT, 2048),
    Model("Qwen/Qwen3-235B-A22B-Instruct-2507", _QWEN3_INSTRUCT, 4096),
    Model("Qwen/Qwen3-VL-30B-A3B-Instruct", _QWEN3_VL, 2048),
    Model("Qwen/Qwen3-VL-235B-A22B-Instruct", _QWEN3_VL, 4096),
    Model("Qwen/Qwen3.5-4B", _QWEN35, 2560),
    Model("Qwen/Qwen3.5-9B", _QWEN35, 4096),
    Model("Qwen/Qwen3.5-9B-Base", _BASE, 4096),
    Model("Qwen/Qwen3.5-27B", _QWEN35, 5120),
    Model("Qwen/Qwen3.5-35B-A3B", _QWEN35, 2048),
    Model("Qwen/Qwen3.5-35B-A3B-Base", _BASE, 2048),
    Model("Qwen/Qwen3.5-397B-A17B", _QWEN35, 4096),
    Model("Qwen/Qwen3.6-27B", _QWEN35, 5120),
    Model("Qwen/Qwen3.6-35B-A3B", _QWEN35, 2048),
    Model("Qwen/Qwen3.8-27B", _QWEN38, 5120),

    Model("deepseek-ai/DeepSeek-V3.1", _DEEPSEEK3),
    Model("deepseek-ai/DeepSeek-V3.1-Base", _BASE),
    Model("deepseek-ai/DeepSeek-V4.1-Flash", _DEEPSEEK41),
    Model("deepseek-ai/DeepSeek-V4.1-Flash-1017", _DEEPSEEK41),

    Model("openai/gpt-oss-20b", _GPT_OSS),
    Model("openai/gpt-oss-120b", _GPT_OSS),

    Model("moonshotai/Kimi-K2-Thinking", ("kimi_k2",), revision=_KIMI_K2_REVISION),
    Model("moonshotai/Kimi-K2.5", _KIMI25, revision=_KIMI_K25_REVISION),
    Model("moonshotai/Kimi-K2.6", _KIMI26, revision=_KIMI_K26_REVISION),
    Model("moonshotai/Kimi-K3.1-Pro", _KIMI31, tokenizer_repo=_K3),

    Model("zai-org/GLM-5.3", _GLM53),
    Model("zai-org/GLM-5.3-Flash", _GLM53),

    Model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", _NEMOTRON3),
    Model("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", _SUPER),
    Model("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", _ULTRA),
    Model("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16", _LIGHTNING),
    Model("nvidia/NVIDIA-Nemotron-3.5-Super-VL-120B-A12B-BF16", _ULTRA),

    Model("thinkingmachines/Inkling", _TML, tokenizer_repo=_O200K),
    Model("thinkingmachines/Inkling-Small", _TML, tokenizer_repo=_O200K),
    Model("thinkingmachines/Inkling-2-Small", _TML, tokenizer_repo=_H200K),
)
# fmt: on

MODELS = {model.name: model for model in _ROWS}
