"""The wire syntax of tool calls and tool declarations, both directions, a module a syntax.

A writer gives markup: template text, which may spell control tokens, and `Data`, which never does. A reader gets the
text between the family's markers and gives a call, or says what is wrong with the text.
"""
