"""Talking to language models: requests, replies, and the engine that asks each question once."""

from __future__ import annotations

from labelspace.llm.connect import connect
from labelspace.llm.engine import Engine
from labelspace.llm.estimate import Estimate
from labelspace.llm.request import (
    ChatModel,
    Message,
    Outcome,
    Reply,
    ReplyError,
    Request,
    Stopped,
    TokenLogprob,
    Unreadable,
)
from labelspace.llm.scores import choice_distribution
from labelspace.llm.scripted import ScriptedLLM
from labelspace.llm.sync import iterate, run

__all__ = [
    "ChatModel",
    "Engine",
    "Estimate",
    "Message",
    "Outcome",
    "Reply",
    "ReplyError",
    "Request",
    "ScriptedLLM",
    "Stopped",
    "TokenLogprob",
    "Unreadable",
    "choice_distribution",
    "connect",
    "iterate",
    "run",
]
