"""Models by name: their shape, the renderers they were trained with, and their tokenizer.

Names and renderers are those of tinker-cookbook 0.6.1, widths those of the published configs, adapter sizes those of
Tinker. A model that is not here works too, given a tokenizer and a renderer.
"""

from typing import NamedTuple

from kernel.errors import InputError, unknown


class Shape(NamedTuple):
    """An architecture: its width, and its LoRA parameters per unit of rank."""

    hidden_size: int
    n_mlp: int
    n_attn: int
    n_unembed: int


class Model(NamedTuple):
    """A model that can be trained by name."""

    name: str
    family: str
    size: str  # parameters, in all or in all and active
    renderers: tuple[str, ...]  # names of renderers it was trained with, the recommended first
    shape: Shape | None
    sees: bool = False
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


class Advice(NamedTuple):
    """A learning rate, and where it comes from in words."""

    rate: float
    source: str


def find(name: str) -> Model | None:
    """The model of that name, or None. A variant's suffix (`:peft:262144`) is not part of the name."""
    return MODELS.get(name.split(":")[0])


def require(name: str, at: str = "$.model_name") -> Model:
    """The model of that name; InputError with the nearest names where there is none."""
    model = find(name)
    if model is None:
        raise unknown("model", name, MODELS, at)
    return model


def learning_rate_advice(model: Model) -> Advice:
    """The learning rate to try first for LoRA, by tinker-cookbook's formula; InputError where it has none.

    >>> rate, source = learning_rate_advice(require("Qwen/Qwen3-8B"))
    >>> f"{rate:.3e} = {source}"
    '4.730e-04 = 5e-4 * (2000 / 4096) ** 0.0775, fitted for Qwen'
    """
    if model.learning_rate is not None:
        return Advice(model.learning_rate, f"measured for {model.name}")
    exponent = _EXPONENTS.get(model.organisation)
    if exponent is None or model.shape is None:
        raise InputError(f"no learning rate is known for {model.name}, give one as a number - at $.learning_rate")
    rate = 5e-5 * 10 * (2000 / model.shape.hidden_size) ** exponent
    return Advice(rate, f"5e-4 * (2000 / {model.shape.hidden_size}) ** {exponent}, fitted for {model.organisation}")


def n_lora_params(shape: Shape, rank: int, *, mlp: bool = True, attn: bool = True, unembed: bool = True) -> int:
    """The number of parameters that LoRA of a rank trains in the chosen parts of a model.

    >>> n_lora_params(require("Qwen/Qwen3-8B").shape, 32)
    92286976
    """
    return rank * (mlp * shape.n_mlp + attn * shape.n_attn + unembed * shape.n_unembed)


_EXPONENTS = {"Qwen": 0.0775, "meta-llama": 0.781}

_LLAMA_1B = Shape(2048, 491_520, 212_992, 130_304)
_LLAMA_3B = Shape(3072, 946_176, 573_440, 131_328)
_LLAMA_8B = Shape(4096, 1_769_472, 851_968, 132_352)
_LLAMA_70B = Shape(8192, 8_847_360, 4_096_000, 136_448)
_QWEN3_4B = Shape(2560, 1_327_104, 737_280, 154_496)
_QWEN3_8B = Shape(4096, 1_769_472, 958_464, 156_032)
_QWEN3_32B = Shape(5120, 5_898_240, 2_490_368, 157_056)
_QWEN3_30B = Shape(2048, 14_450_688, 835_584, 153_984)
_QWEN3_235B = Shape(4096, 56_598_528, 3_176_448, 156_032)
_QWEN35_4B = Shape(2560, 1_130_496, 897_024, 250_880)
_QWEN35_9B = Shape(4096, 1_572_864, 1_130_496, 252_416)
_QWEN35_27B = Shape(5120, 4_325_376, 2_965_504, 253_440)
_QWEN35_35B = Shape(2048, 16_281_600, 1_013_760, 250_368)
_QWEN35_397B = Shape(4096, 96_030_720, 2_841_600, 252_416)
_DEEPSEEK_V3 = Shape(7168, 94_307_328, 2_440_000, 136_448)
_DEEPSEEK_V4_FLASH = Shape(5120, 107_673_600, 1_013_760, 134_400)
_GPT_OSS_20B = Shape(2880, 6_842_880, 497_664, 203_968)
_GPT_OSS_120B = Shape(2880, 40_124_160, 746_496, 203_968)
_KIMI_K2 = Shape(7168, 144_583_680, 1_940_288, 171_008)
_KIMI_K3_PRO = Shape(7168, 766_457_856, 8_040_960, 171_008)
_GLM5 = Shape(6144, 121_356_288, 2_920_320, 161_024)
_GLM5_FLASH = Shape(4096, 75_755_520, 2_009_088, 158_976)
_NEMOTRON_30B = Shape(2688, 11_346_176, 584_832, 133_760)
_NEMOTRON_120B = Shape(4096, 111_349_760, 1_675_264, 135_168)
_NEMOTRON_550B = Shape(8192, 254_529_536, 4_134_912, 139_264)
_INKLING = Shape(6144, 154_705_920, 3_424_256, 207_168)
_INKLING_SMALL = Shape(4096, 64_503_808, 1_311_744, 205_120)
_INKLING_2_SMALL = Shape(4608, 128_065_536, 2_347_008, 205_632)


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
    Model("tinsmith/tiny", "tinsmith", "tiny", _QWEN3_INSTRUCT, None, tokenizer_repo="sample", learning_rate=1e-2),

    Model("meta-llama/Llama-3.2-1B", "llama3", "1B", _BASE, _LLAMA_1B, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.2-3B", "llama3", "3B", _BASE, _LLAMA_3B, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-8B", "llama3", "8B", _BASE, _LLAMA_8B, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-8B-Instruct", "llama3", "8B", _LLAMA3, _LLAMA_8B, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.1-70B", "llama3", "70B", _BASE, _LLAMA_70B, tokenizer_repo=_LLAMA_TOKENIZER),
    Model("meta-llama/Llama-3.3-70B-Instruct", "llama3", "70B", _LLAMA3, _LLAMA_70B, tokenizer_repo=_LLAMA_TOKENIZER),

    Model("Qwen/Qwen3-4B-Instruct-2507", "qwen3", "4B", _QWEN3_INSTRUCT, _QWEN3_4B),
    Model("Qwen/Qwen3-8B", "qwen3", "8B", _QWEN3, _QWEN3_8B),
    Model("Qwen/Qwen3-8B-Base", "qwen3", "8B", _BASE, _QWEN3_8B),
    Model("Qwen/Qwen3-32B", "qwen3", "32B", _QWEN3, _QWEN3_32B),
    Model("Qwen/Qwen3-30B-A3B", "qwen3", "30B-A3B", _QWEN3, _QWEN3_30B),
    Model("Qwen/Qwen3-30B-A3B-Base", "qwen3", "30B-A3B", _BASE, _QWEN3_30B),
    Model("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3", "30B-A3B", _QWEN3_INSTRUCT, _QWEN3_30B),
    Model("Qwen/Qwen3-235B-A22B-Instruct-2507", "qwen3", "235B-A22B", _QWEN3_INSTRUCT, _QWEN3_235B),
    Model("Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3_vl", "30B-A3B", _QWEN3_VL, _QWEN3_30B, sees=True),
    Model("Qwen/Qwen3-VL-235B-A22B-Instruct", "qwen3_vl", "235B-A22B", _QWEN3_VL, _QWEN3_235B, sees=True),
    Model("Qwen/Qwen3.5-4B", "qwen3_5", "4B", _QWEN35, _QWEN35_4B, sees=True),
    Model("Qwen/Qwen3.5-9B", "qwen3_5", "9B", _QWEN35, _QWEN35_9B, sees=True),
    Model("Qwen/Qwen3.5-9B-Base", "qwen3_5", "9B", _BASE, _QWEN35_9B, sees=True),
    Model("Qwen/Qwen3.5-27B", "qwen3_5", "27B", _QWEN35, _QWEN35_27B, sees=True),
    Model("Qwen/Qwen3.5-35B-A3B", "qwen3_5", "35B-A3B", _QWEN35, _QWEN35_35B, sees=True),
    Model("Qwen/Qwen3.5-35B-A3B-Base", "qwen3_5", "35B-A3B", _BASE, _QWEN35_35B, sees=True),
    Model("Qwen/Qwen3.5-397B-A17B", "qwen3_5", "397B-A17B", _QWEN35, _QWEN35_397B, sees=True),
    Model("Qwen/Qwen3.6-27B", "qwen3_5", "27B", _QWEN35, _QWEN35_27B, sees=True),
    Model("Qwen/Qwen3.6-35B-A3B", "qwen3_5", "35B-A3B", _QWEN35, _QWEN35_35B, sees=True),
    Model("Qwen/Qwen3.8-27B", "qwen3_8", "27B", _QWEN38, _QWEN35_27B, sees=True),

    Model("deepseek-ai/DeepSeek-V3.1", "deepseek3", "671B-A37B", _DEEPSEEK3, _DEEPSEEK_V3),
    Model("deepseek-ai/DeepSeek-V3.1-Base", "deepseek3", "671B-A37B", _BASE, _DEEPSEEK_V3),
    Model("deepseek-ai/DeepSeek-V4.1-Flash", "deepseek4", "552B-A16B", _DEEPSEEK41, _DEEPSEEK_V4_FLASH),
    Model("deepseek-ai/DeepSeek-V4.1-Flash-1017", "deepseek4", "552B-A16B", _DEEPSEEK41, _DEEPSEEK_V4_FLASH),

    Model("openai/gpt-oss-20b", "gpt_oss", "21B-A3.6B", _GPT_OSS, _GPT_OSS_20B),
    Model("openai/gpt-oss-120b", "gpt_oss", "117B-A5.1B", _GPT_OSS, _GPT_OSS_120B),

    Model("moonshotai/Kimi-K2-Thinking", "kimi2", "1T-A32B", ("kimi_k2",), _KIMI_K2, revision=_KIMI_K2_REVISION),
    Model("moonshotai/Kimi-K2.5", "kimi2", "1T-A32B", _KIMI25, _KIMI_K2, sees=True, revision=_KIMI_K25_REVISION),
    Model("moonshotai/Kimi-K2.6", "kimi2", "1T-A32B", _KIMI26, _KIMI_K2, sees=True, revision=_KIMI_K26_REVISION),
    Model("moonshotai/Kimi-K3.1-Pro", "kimi3", "2.8T-A104B", _KIMI31, _KIMI_K3_PRO, True, _K3),

    Model("zai-org/GLM-5.3", "glm5", "744B-A40B", _GLM53, _GLM5),
    Model("zai-org/GLM-5.3-Flash", "glm5", "320B-A18B", _GLM53, _GLM5_FLASH),

    Model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron3", "30B-A3B", _NEMOTRON3, _NEMOTRON_30B),
    Model("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", "nemotron3", "120B-A12B", _SUPER, _NEMOTRON_120B),
    Model("nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "nemotron3", "550B-A55B", _ULTRA, _NEMOTRON_550B),
    Model("nvidia/NVIDIA-Nemotron-3.5-Lightning-30B-A3B-BF16", "nemotron3", "30B-A3B", _LIGHTNING, _NEMOTRON_30B),
    Model("nvidia/NVIDIA-Nemotron-3.5-Super-VL-120B-A12B-BF16", "nemotron3", "120B-A12B", _ULTRA, _NEMOTRON_120B, True),

    Model("thinkingmachines/Inkling", "inkling", "975B-A41B", _TML, _INKLING, True, _O200K),
    Model("thinkingmachines/Inkling-Small", "inkling", "276B-A12B", _TML, _INKLING_SMALL, True, _O200K),
    Model("thinkingmachines/Inkling-2-Small", "inkling", "594B-A17B", _TML, _INKLING_2_SMALL, True, _H200K),
)
# fmt: on

MODELS = {model.name: model for model in _ROWS}
