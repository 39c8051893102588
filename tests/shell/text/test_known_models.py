import subprocess
import sys

import pytest

from kernel.errors import InputError
from shell.text.known_models import MODELS, find, learning_rate_advice, require


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("Qwen/Qwen3-8B", "4.730e-04"),
        ("Qwen/Qwen3.5-9B-Base", "4.730e-04"),
        ("Qwen/Qwen3.5-4B", "4.905e-04"),
        ("meta-llama/Llama-3.1-8B", "2.856e-04"),
        ("meta-llama/Llama-3.2-1B", "4.908e-04"),
        ("meta-llama/Llama-3.1-70B", "1.662e-04"),
    ],
)
def test_the_advised_rate_is_the_references(name, rate):
    assert f"{learning_rate_advice(require(name)):.3e}" == rate


def test_only_models_with_a_fitted_formula_have_advice():
    for model in MODELS.values():
        if model.organisation in ("Qwen", "meta-llama", "tinsmith"):
            assert 1e-4 < learning_rate_advice(model) < 0.1
        else:
            with pytest.raises(
                InputError, match=rf"no learning rate is known for {model.name}, .* at \$.learning_rate"
            ):
                learning_rate_advice(model)


@pytest.mark.parametrize(
    ("name", "renderer"),
    [
        ("tinsmith/tiny", "qwen3_instruct"),
        ("meta-llama/Llama-3.1-8B", "role_colon"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3"),
        ("Qwen/Qwen3.5-9B-Base", "role_colon"),
        ("Qwen/Qwen3-8B", "qwen3"),
        ("Qwen/Qwen3-4B-Instruct-2507", "qwen3_instruct"),
        ("Qwen/Qwen3.6-27B", "qwen3_5"),
        ("Qwen/Qwen3.8-27B", "qwen3_8_xhigh_reasoning"),
        ("deepseek-ai/DeepSeek-V3.1", "deepseekv3"),
        ("moonshotai/Kimi-K2.6", "kimi_k26"),
        ("openai/gpt-oss-20b", "gpt_oss_no_sysprompt"),
        ("zai-org/GLM-5.3", "glm5_3_max_reasoning"),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nemotron3"),
        ("thinkingmachines/Inkling", "tml_v0"),
    ],
)
def test_the_recommended_renderer_comes_first(name, renderer):
    assert require(name).renderers[0] == renderer


def test_base_models_are_written_with_role_colon_alone():
    for model in MODELS.values():
        assert ("role_colon" in model.renderers) == (model.renderers == ("role_colon",))
        assert model.renderers == ("role_colon",) or not model.name.endswith("-Base")


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [
        ("tinsmith/tiny", "sample"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("meta-llama/Llama-3.3-70B-Instruct", "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"),
        ("thinkingmachines/Inkling-Small", "tml:o200k_base_chat"),
    ],
)
def test_a_tokenizer_lies_beside_its_model_unless_said_otherwise(name, tokenizer):
    assert require(name).tokenizer == tokenizer


def test_only_kimi_k2_tokenizers_are_pinned_to_a_commit():
    pinned = {model.name: len(model.revision) for model in MODELS.values() if model.revision}
    assert pinned == {f"moonshotai/Kimi-K2{version}": 40 for version in ("-Thinking", ".5", ".6")}


def test_a_variant_is_found_by_its_base_name():
    assert find("zai-org/GLM-5.3:peft:262144") is require("zai-org/GLM-5.3")


def test_an_unknown_model_is_none_to_find_and_an_error_to_require():
    assert find("Qwen/Qwen3-8") is None
    with pytest.raises(InputError, match=r"unknown model 'Qwen/Qwen3-8', did you mean 'Qwen/Qwen3-8B'.* --model-name"):
        require("Qwen/Qwen3-8", at="--model-name")


def test_the_registry_imports_nothing_heavy():
    heavy = ("numpy", "numba", "tinker", "datasets")
    code = f"import sys, shell.text.known_models; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
