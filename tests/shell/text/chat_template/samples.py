"""Chat templates to test with, in the styles that are about, and hostile ones. All of them are our own."""

CONTROLS = (
    *("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"),
    *("<tool_response>", "</tool_response>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>"),
)

INSTRUCT = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages and messages[0].role == 'system' and messages[0].content %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- '# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\n' }}
    {{- 'You are provided with function signatures within <tools></tools> XML tags:\\n<tools>\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(ensure_ascii=True) }}{{ '\\n' }}
    {%- endfor %}
    {{- '</tools>\\n\\nFor each function call, return a json object with function name and arguments within ' }}
    {{- '<tool_call></tool_call> XML tags:\\n<tool_call>\\n' }}
    {{- '{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'system' and tools and loop.first %}
        {%- continue %}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content ~ '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message['role'] + '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}
            {%- set function = {'name': call.function.name, 'arguments': call.function.arguments} %}
            {{- '\\n' if message.content or not loop.first else '' }}
            {{- '<tool_call>\\n%s\\n</tool_call>'.replace('%s', function | tojson(ensure_ascii=True)) }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""in the style of Qwen3's instruct models, with the text of our renderer"""

THINKING = """\
{%- set ns = namespace(query=-1) %}
{%- for message in messages if message.role == 'user' %}{% set ns.query = messages.index(message) %}{% endfor %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.last and ns.query >= 0 %}
        {{- '<think>\\n' + (message.reasoning_content or '').strip('\\n') + '\\n</think>\\n\\n' }}
        {{- message.content.lstrip('\\n') }}
    {%- else %}
        {{- message.content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""reasoning in the last turn alone, as Qwen3 has it"""

TRIMMED = """\
{%- for message in messages %}
{{- bos_token if loop.first }}<|start_header_id|>{{ message.role }}<|end_header_id|>

{{ message.content | trim }}<|eot_id|>
{%- endfor %}
{%- if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>

{% endif %}
"""
"""template text and filters, as Llama 3 has it"""

MARKED = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role }}
    {%- if message.role == 'assistant' %}
        {% generation %}{{ '\\n' + message.content + '<|im_end|>\\n' }}{% endgeneration %}
    {%- else %}
        {{- '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""generation blocks that hold more than what is sampled: the end of the header, and the newline after the turn"""

CHANNELS = """\
{%- macro turn(role, channel, words, end) %}
    {{- '<|start|>' ~ role ~ ('<|channel|>' ~ channel if channel) ~ '<|message|>' ~ words ~ end }}
{%- endmacro %}
{{- turn('system', '', 'Current date: ' + strftime_now('%Y-%m-%d'), '<|end|>') }}
{%- for message in messages %}
    {%- if message.role != 'assistant' %}
        {{- turn(message.role, '', message.content, '<|end|>') }}
    {%- else %}
        {%- if message.thinking and loop.last %}
            {{- turn('assistant', 'analysis', message.thinking, '<|end|>') }}
        {%- endif %}
        {{- turn('assistant', 'final', message.content, '<|return|>' if loop.last else '<|end|>') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}
"""
"""a turn ends otherwise when it is the last, as in Harmony; the date is written"""

PARTS = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- for part in message.content %}{{ part.text }}{% endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
"""content as a list, as vision models take it"""


def chatml(body: str, prompt: str = "<|im_start|>assistant\\n", before: str = "") -> str:
    """A template that writes each message by `body`, between the tokens of ChatML."""
    return (
        f"{before}{{%- for message in messages %}}{{{{- '<|im_start|>' + message.role + '\\n' }}}}{body}"
        "{{- '<|im_end|>\\n' }}{%- endfor %}"
        f"{{%- if add_generation_prompt %}}{{{{ '{prompt}' }}}}{{% endif %}}"
    )


PLAIN = chatml("{{- message.content }}")
