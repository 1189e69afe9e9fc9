"""Prompt templates as files under review, and what renders them into the messages of a chat.

`loader` tells the file format; `fence` tells how a document is kept from becoming an instruction.
"""

from __future__ import annotations

from labelspace.prompts.fence import fence, fence_each, fence_lines
from labelspace.prompts.loader import list_prompts, load_prompt
from labelspace.prompts.prompt import Prompt

__all__ = ["Prompt", "fence", "fence_each", "fence_lines", "list_prompts", "load_prompt"]
